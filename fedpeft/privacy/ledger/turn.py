# SPDX-License-Identifier: Apache-2.0
"""One request at a time for a ledger, across threads and processes.

A lock file beside the ledger is locked from the charge of a request until its release is stored. The
operating system drops the lock when its holder dies, whatever killed it, so nobody has to guess from
process ids whether a request is still being worked on. (A forked child that outlives the holder keeps
the lock; put ledgers on a local disk, where such locks are reliable.)
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from fedpeft.errors import LedgerError, Refusal
from fedpeft.types import RefusalCode

_POLL_S = 0.02


class _Mine(threading.local):
    """The turns this thread took last, by ledger: taking one again gives up the earlier one."""

    def __init__(self) -> None:
        self.turns: dict[str, Turn] = {}


_mine = _Mine()


class Turn:
    """The exclusive right to serve one request; dropped by :meth:`release`, or with the process."""

    def __init__(self, descriptor: int, request_id: str) -> None:
        """Hold a locked file descriptor; use :meth:`take`."""
        self.request_id = request_id
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, ledger: Path, request_id: str, wait_s: float) -> Turn:
        """Wait for the turn.

        A thread that comes again for the same ledger has given up what it was doing (it cannot be in two
        places), so it does not wait for itself.

        Raises:
            Refusal: ``UNAVAILABLE`` after ``wait_s`` seconds of waiting.
            LedgerError: the lock file cannot be made.
        """
        path = ledger.with_name(f"{ledger.name}.lock").absolute()
        earlier = _mine.turns.pop(str(path), None)
        if earlier is not None:
            earlier.release()
        try:
            # A description of its own each time: threads that share one would not exclude one another.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LedgerError(
                f"ledger {ledger}: cannot be locked: {error.strerror}; mend its folder"
            ) from error
        deadline = time.monotonic() + wait_s
        try:
            while not _locked(descriptor):
                if time.monotonic() >= deadline:
                    raise Refusal(RefusalCode.UNAVAILABLE, f"another request was in work for {wait_s:g} s")
                time.sleep(_POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        turn = _mine.turns[str(path)] = cls(descriptor, request_id)
        return turn

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let the next one in; releasing again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
