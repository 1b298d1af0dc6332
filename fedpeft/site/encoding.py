# SPDX-License-Identifier: Apache-2.0
"""What the messages of ``site.proto`` are made of: names, vectors, digests, events; and how one is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from fedpeft.errors import Refusal
from fedpeft.privacy.events import GAUSSIAN, POISSON_GAUSSIAN
from fedpeft.site import site_pb2 as pb
from fedpeft.site.fields import check_protocol, refuse_malformed
from fedpeft.types import FloatVector, PrivacyEvent, RefusalCode

_KINDS: Final[Mapping[str, Any]] = {
    POISSON_GAUSSIAN: pb.EVENT_KIND_POISSON_GAUSSIAN,
    GAUSSIAN: pb.EVENT_KIND_GAUSSIAN,
}
_DIGEST_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._: -]{0,199}")  # no separator of folders, no line break

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse(message: AnyMessage, data: bytes) -> AnyMessage:
    """Fill an empty message from its bytes.

    Raises:
        Refusal: ``MALFORMED`` where they are none, ``PROTOCOL`` for another version than ours.
    """
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Refusal(RefusalCode.MALFORMED, f"{type(message).__name__}: not its bytes") from error
    version: int = getattr(message, "protocol")  # noqa: B009 - every message here has it, their base has not
    check_protocol(version)
    return message


def named(message: AnyMessage) -> AnyMessage:
    """The same request, whose ids are of letters, digits and a few marks.

    Raises:
        Refusal: ``MALFORMED`` for any other id.
    """
    names = {field.name for field in message.DESCRIPTOR.fields} & {"run_id", "request_id"}
    refuse_malformed({name: _NAME.fullmatch(getattr(message, name)) is not None for name in sorted(names)})
    return message


def to_event(event: PrivacyEvent) -> pb.Event:
    """What a release cost, as it is sent."""
    return pb.Event(
        kind=_KINDS[event.kind],
        noise_multiplier=event.noise_multiplier,
        sampling_rate=event.sampling_rate,
        steps=event.steps,
        unit=event.unit,
    )


def from_event(found: pb.Event) -> PrivacyEvent:
    """What a release cost.

    Raises:
        Refusal: ``MALFORMED`` for a kind that is not known.
    """
    kinds = {number: kind for kind, number in _KINDS.items()}
    refuse_malformed({"kind": found.kind in kinds})
    return PrivacyEvent(
        kinds[found.kind], found.noise_multiplier, found.sampling_rate, found.steps, found.unit
    )


def to_bytes(vector: FloatVector) -> bytes:
    """Little-endian float32."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def to_vector(field: str, data: bytes) -> FloatVector:
    """A read-only float32 vector.

    Raises:
        Refusal: ``MALFORMED``, naming ``field``, where the bytes are not a whole number of values.
    """
    refuse_malformed({field: len(data) % 4 == 0})
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def to_hex(digest: bytes) -> str:
    """A ledger's head as the rest of the package has it.

    Raises:
        Refusal: ``MALFORMED`` for another length.
    """
    refuse_malformed({"ledger_head": len(digest) == _DIGEST_BYTES})
    return digest.hex()
