# SPDX-License-Identifier: Apache-2.0
"""Who opens a file: the kernel tells (fanotify), so that none is missed however short it is open."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_EVENT = struct.Struct("=IBBHQii")  # length, version, reserved, length of this, mask, descriptor, process
_NONBLOCKING, _ADD, _OPEN, _HERE = 0x2, 0x1, 0x20, -100


class Openers:
    """Watches a file, as root.

    Attributes:
        is_watching: ``False`` where the kernel does not allow it.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._queue = library.fanotify_init(_NONBLOCKING, os.O_RDONLY) if os.geteuid() == 0 else -1
        mask, name = ctypes.c_uint64(_OPEN), os.fsencode(path)
        self.is_watching = self._queue >= 0 and not library.fanotify_mark(
            self._queue, _ADD, mask, _HERE, name
        )
        self._found: set[int] = set()

    def found(self) -> set[int]:
        """Processes that have opened the file since it is watched."""
        with contextlib.suppress(BlockingIOError):
            while self.is_watching and (data := os.read(self._queue, 65536)):
                for at in range(0, len(data), _EVENT.size):
                    *_, descriptor, pid = _EVENT.unpack_from(data, at)
                    self._found.add(pid)
                    if descriptor >= 0:
                        os.close(descriptor)
        return set(self._found)

    def close(self) -> None:
        """Stop watching."""
        if self._queue >= 0:
            os.close(self._queue)
