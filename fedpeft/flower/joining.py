# SPDX-License-Identifier: Apache-2.0
"""Whether a SuperLink would let a node in: asked with the node's own key, and asking changes nothing.

Flower tells a node that it does not know ``Failed to activate SuperNode``, and one whose clock is wrong
nothing at all. The request made here asks to join with a heartbeat that no SuperLink accepts: it looks at the
signature first, then at the key, last at the heartbeat, so its refusal tells how far a node would have come.
"""

from __future__ import annotations

import datetime
from base64 import b64encode
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from fedpeft.errors import UserError

_NO_HEARTBEAT_S: Final = 0.0


class Standing(Enum):
    """How a SuperLink takes a node's request to join."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNSIGNED = "unsigned"
    STRANGE = "strange"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """An HTTP request, to be posted."""

    path: str
    headers: dict[str, str]
    body: bytes


def join_request(key: Path) -> JoinRequest:
    """Ask to join with a key, signed now.

    Raises:
        UserError: the key cannot be read, or is none of a node.
    """
    try:
        private = load_ssh_private_key(key.read_bytes(), None)
    except OSError as error:
        raise UserError(f"{key}: {error.strerror}; name the node's private key") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{key}: is no private key in OpenSSH's format; name the node's") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise UserError(f"{key}: is no elliptic curve key, as nodes have; `fedpeft init site` makes one")
    public = public_key_to_bytes(private.public_key())
    timestamp = datetime.datetime.now(datetime.UTC).isoformat()
    headers = {
        "Content-Type": PROTOBUF_MEDIA_TYPE,
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public).decode(),
        TIMESTAMP_HEADER: timestamp,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(private, timestamp.encode())).decode(),
    }
    body = ActivateNodeRequest(public_key=public, heartbeat_interval=_NO_HEARTBEAT_S).SerializeToString()
    return JoinRequest("/v1/fleet/activate-node", headers, body)


def standing(status: int, body: bytes) -> Standing:
    """What an answer to :func:`join_request` says.

    Args:
        status: of HTTP.
        body: of the answer.
    """
    if status == HTTPStatus.UNAUTHORIZED:
        return Standing.UNSIGNED
    error = FlowerError.from_json(body.decode(errors="replace"))
    code = None if error is None else error.code
    if code == ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
        return Standing.KNOWN
    return Standing.UNKNOWN if code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED else Standing.STRANGE
