# SPDX-License-Identifier: Apache-2.0
"""Signed bundles: an organization admits only code that a key it knows has signed.

Flower's SuperNode checks signatures (``--trusted-entities``), and its SuperLink asks a hub for a bundle and
its signatures. The hub here holds one bundle, listens on the loopback interface of the coordinator, and is
trusted by nobody: a signature is made by a reviewer and checked by the organization's own node.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from fedpeft.errors import UserError

APP: Final = "@fedpeft/fedpeft"
_FETCH, _BUNDLE = "/hub/fetch-fab", "/bundle.fab"
_LARGEST_QUESTION: Final = 1 << 16

Signature = Mapping[str, Any]
"""``public_key_id``, ``signature`` (base64, URL-safe), ``signed_at`` (seconds), as Flower's hub has them."""


def sign(bundle: bytes, key: bytes, name: str, seconds: int) -> Signature:
    """A reviewer's signature of a bundle.

    Args:
        bundle: the file that ``flwr build`` makes.
        key: private, ed25519 in OpenSSH's format without a password.
        name: of the key, as in the organizations' lists of trusted entities.
        seconds: since the epoch, signed as well.

    Raises:
        UserError: the key is no such key.
    """
    try:
        signer = serialization.load_ssh_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(f"--key: cannot be read ({error}); {_MAKE}") from error
    if not isinstance(signer, ed25519.Ed25519PrivateKey):
        raise UserError(f"--key: is not of the kind ed25519; {_MAKE}")
    message = seconds.to_bytes(8, "big") + hashlib.sha256(bundle).digest()
    text = base64.urlsafe_b64encode(signer.sign(message)).rstrip(b"=").decode("ascii")
    return {"public_key_id": name, "signature": text, "signed_at": seconds}


class Hub(ThreadingHTTPServer):
    """Answers a SuperLink of this machine with one bundle and its signatures."""

    def __init__(self, bundle: bytes, signatures: Sequence[Signature], port: int) -> None:
        """Listen on the loopback interface; ``serve_forever`` answers.

        Raises:
            UserError: the port is in use.
        """
        self.bundle = bundle
        self.signatures = [dict(signature) for signature in signatures]
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: cannot be had ({error.strerror}); name another") from error

    @property
    def url(self) -> str:
        """What ``FLWR_SUPERGRID_API_URL`` must be at the SuperLink."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        """Which bundle, and who signed it."""
        length = int(self.headers.get("Content-Length") or 0)
        question = json.loads(self.rfile.read(min(length, _LARGEST_QUESTION)) or b"{}")
        if self.path != _FETCH or question.get("app_id") != APP:
            self._answer(404, b'{"detail": "not here"}')
            return
        answer = {"fab_url": self.server.url + _BUNDLE, "verifications": self.server.signatures}
        self._answer(200, json.dumps(answer).encode())

    def do_GET(self) -> None:
        """The bundle."""
        is_known = self.path == _BUNDLE
        self._answer(200 if is_known else 404, self.server.bundle if is_known else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_MAKE: Final = "make one with: ssh-keygen -t ed25519 -N '' -f reviewer"
