# SPDX-License-Identifier: Apache-2.0
"""The page of a run as it goes on, over HTTP on this machine only; nothing can be changed through it.

The server listens on 127.0.0.1, answers GET and HEAD, and only below an address that cannot be guessed: other
users of this machine can reach the port as well, and a page may show what is for its owner's eyes. The
``Host`` must be this machine, so that no other page in the browser reads it under a name that points here.
"""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from fedpeft.errors import ConfigError, FedpeftError
from fedpeft.report.page import make_page, state_of
from fedpeft.report.run_folder import RunFolder, read_run
from fedpeft.report.statement import covered_only
from fedpeft.types import JsonDict

LOOPBACK: Final = "127.0.0.1"
_WATCHED: Final = ("config.toml", "result.json", "rounds.jsonl", "metrics.jsonl", "selection.json",
                   "baselines.json", "synthetic/certificate.json")  # fmt: skip
_LEAST_S: Final = 2.0
"""Between two drawings of the page: the run has better use for the machine."""


class Watched:
    """A run's folder, read again when its files have changed.

    Attributes:
        place: the path below which it is served.
    """

    def __init__(self, folder: Path, *, only_covered: bool = False) -> None:
        """Read it a first time.

        Raises:
            RunDirectoryError: not the folder of a run.
        """
        self._folder = folder
        self._only_covered = only_covered
        self._lock = Lock()
        self._seen: tuple[tuple[int, int], ...] = ()
        self._read_at = -_LEAST_S
        self._problem = ""
        self.nonce = secrets.token_urlsafe(16)
        self.place = f"/{secrets.token_urlsafe(16)}/"
        self._run = self._read()

    def state(self) -> JsonDict:
        """In which version the page is, and how far the run."""
        run = self._now()
        version = "-".join(f"{size}.{changed}" for size, changed in self._seen)
        said = {"version": version, "text": state_of(run), "finished": run.is_finished}
        return said | {"problem": self._problem}

    def page(self) -> str:
        """The HTML, with a script that looks for the next version."""
        script = (files("fedpeft.report") / "templates" / "watch.js").read_text("utf-8")
        return make_page([self._now()], script=script, nonce=self.nonce)

    def _now(self) -> RunFolder:
        """The run as it is; as it was where its files cannot be read just now."""
        with self._lock:
            if monotonic() - self._read_at >= _LEAST_S and self._stamps() != self._seen:
                try:
                    self._run, self._problem = self._read(), ""
                except FedpeftError as error:
                    self._problem = f"The folder cannot be read just now: {error}"
            return self._run

    def _read(self) -> RunFolder:
        stamps = self._stamps()
        run = read_run(self._folder)
        self._seen, self._read_at = stamps, monotonic()
        return covered_only(run) if self._only_covered else run

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        found = []
        for name in _WATCHED:
            try:
                status = (self._folder / name).stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_size, status.st_mtime_ns))
        return tuple(found)


def make_server(watched: Watched, port: int) -> ThreadingHTTPServer:
    """A server on the loopback interface; ``serve_forever`` runs it, ``server_close`` ends it.

    Args:
        watched: what to show.
        port: 0 for any that is free.

    Raises:
        ConfigError: the port is taken or not allowed.
    """
    handler = type("_Bound", (_Handler,), {"watched": watched})
    try:
        return ThreadingHTTPServer((LOOPBACK, port), handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--port {port}: cannot be listened on ({error}); give another from 1024 to 65535, or 0 for any"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    watched: Watched
    server_version = "fedpeft"
    sys_version = ""

    def do_GET(self) -> None:
        """The page, or the state."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (LOOPBACK, "localhost"):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "only for this machine")
            return
        path = urlsplit(self.path).path
        if path == self.watched.place:
            self._answer(HTTPStatus.OK, "text/html", self.watched.page())
        elif path == f"{self.watched.place}state":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(self.watched.state()))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "nothing here")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a person reads the terminal."""

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
