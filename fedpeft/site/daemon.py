# SPDX-License-Identifier: Apache-2.0
"""The resident process of a site: a Unix socket for the courier's group, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket as sockets
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, Self

from fedpeft.errors import ConfigError, LedgerError
from fedpeft.site.service import Served, Service, build_server, set_serving
from fedpeft.types import Layout

_log = logging.getLogger(__name__)

_MODE: Final = 0o660


class Daemon:
    """A site that listens. Use it as a context manager: leaving it lets the request in work end."""

    def __init__(
        self,
        site: Served,
        layout: Layout,
        socket: Path,
        *,
        queue_s: float,
        slot_s: float = 0.0,
        stop_s: float,
    ) -> None:
        """Bind the socket; nothing is answered yet.

        Args:
            site: asked by several threads.
            layout: of its adapter.
            socket: its folder exists; the file gets the folder's group.
            queue_s: how long a request waits for the one that is in work.
            slot_s: answers to trainings leave at whole multiples of it; 0 does not wait.
            stop_s: how long the end waits for the request in work.

        Raises:
            ConfigError: another process listens there, or the socket cannot be made.
        """
        self._service = Service(site, queue_s, slot_s)
        self._server, self._status = build_server(self._service, layout)
        self._socket = socket
        self._stop_s = stop_s
        _make_room(socket)
        before = os.umask(0o777 & ~_MODE)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
            os.chown(socket, -1, socket.parent.stat().st_gid)
            socket.chmod(_MODE)
        except (OSError, RuntimeError) as error:
            self._server.stop(0)
            raise ConfigError(f"site.socket = {socket}: cannot be made ({error}); mend its folder") from error
        finally:
            os.umask(before)

    def __enter__(self) -> Self:
        self._server.start()
        set_serving(self._status)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.enter_graceful_shutdown()
        self._server.stop(self._stop_s).wait(self._stop_s + 1)
        self._socket.unlink(missing_ok=True)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in work; one that was cut off may still be."""
        return not self._service.is_busy


def until_told(signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
    """Wait for one of the signals; the handlers of before are put back."""
    told = threading.Event()

    def note(number: int, _frame: FrameType | None) -> None:
        _log.info("%s: no new requests", signal.Signals(number).name)
        told.set()

    before = {number: signal.signal(number, note) for number in signals}
    try:
        while not told.wait(0.5):  # in pieces, so that a signal is seen at once
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def alone(folder: Path, identity: str) -> Iterator[None]:
    """Hold the only right to serve an identity; the operating system drops it with the process.

    Args:
        folder: of the ledger.
        identity: of the policy.

    Raises:
        LedgerError: another process has it.
    """
    path = folder / f"{identity}.resident"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise LedgerError(
                f"ledger {folder / identity}.sqlite: another resident site serves it; stop that one first"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _make_room(socket: Path) -> None:
    """Remove a socket that a dead process left."""
    if not socket.exists():
        return
    if not socket.is_socket():
        raise ConfigError(f"site.socket = {socket}: is a file; remove it, or name another path")
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(socket))
        except OSError:
            socket.unlink(missing_ok=True)
            return
    raise ConfigError(
        f"site.socket = {socket}: somebody listens there already; stop it, or name another path"
    )
