# SPDX-License-Identifier: Apache-2.0
"""Tensors by key, under a limit, in memory or in a file that nobody else can open.

The file has no name: it is unlinked as it is made, mode 0600, in a folder of the owner's, and its space is
given back when the process ends, however it ends.
"""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

_CHUNK: Final = 64 << 20
_ALIGNMENT: Final = 64


class StateStore:
    """Keeps tensors until the limit is reached, and then no more; nothing that is kept goes again."""

    def __init__(self, limit_bytes: int, folder: Callable[[], Path] | None = None) -> None:
        """Keep nothing yet.

        Args:
            limit_bytes: most to keep.
            folder: of a file, asked for when the first is kept; default: memory.
        """
        self._limit = limit_bytes
        self._folder = folder
        self._file: int | None = None  # its descriptor
        self._chunk = torch.empty(0, dtype=torch.uint8)
        self._used = 0  # of the chunk
        self._reserved = 0  # over all chunks
        self._kept: dict[bytes, Tensor] = {}

    def __len__(self) -> int:
        """How many tensors are kept."""
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Bytes reserved, in whole chunks."""
        return self._reserved

    def get(self, key: bytes) -> Tensor | None:
        """The tensor of ``key``, on the host, or ``None``. It must not be written to."""
        return self._kept.get(key)

    def put(self, key: bytes, value: Tensor) -> None:
        """Keep a copy of ``value`` if there is room for it."""
        if key in self._kept:
            return
        place = self._reserve(value.numel() * value.element_size())
        if place is not None:
            kept = place.view(value.dtype).view(value.shape)
            kept.copy_(value.detach())
            self._kept[key] = kept

    def __del__(self) -> None:
        """Let the file go; what was mapped goes with the last tensor of it."""
        if self._file is not None:
            os.close(self._file)

    def share(self, limit_bytes: int) -> StateStore:
        """A view of everything that keeps at most ``limit_bytes`` here, so that others have room."""
        return _Share(self, limit_bytes)

    def _reserve(self, size: int) -> Tensor | None:
        rounded = -(-size // _ALIGNMENT) * _ALIGNMENT
        if self._used + rounded > self._chunk.numel() and not self._grow(rounded):
            return None
        place = self._chunk[self._used : self._used + size]
        self._used += rounded
        return place

    def _grow(self, least: int) -> bool:
        page = mmap.ALLOCATIONGRANULARITY
        size = -(-max(least, min(_CHUNK, self._limit - self._reserved)) // page) * page
        if self._reserved + size > self._limit:
            return False
        try:
            self._chunk = torch.empty(size, dtype=torch.uint8) if self._folder is None else self._map(size)
        except OSError as error:  # a full disk costs speed, nothing else
            _log.warning("the prefix cache stops growing: %s", error.strerror)
            self._limit = self._reserved
            return False
        self._reserved += size
        self._used = 0
        return True

    def _map(self, size: int) -> Tensor:
        if self._file is None:
            self._file = self._nameless_file()
        # Reserved on the disk first: a write into a hole of a full disk would end the process.
        os.posix_fallocate(self._file, self._reserved, size)
        return torch.frombuffer(mmap.mmap(self._file, size, offset=self._reserved), dtype=torch.uint8)

    def _nameless_file(self) -> int:
        assert self._folder is not None
        descriptor, path = tempfile.mkstemp(prefix=".states-", dir=self._folder())
        os.unlink(path)
        return descriptor


class _Share(StateStore):
    """Keeps in another store, up to a limit of its own."""

    def __init__(self, whole: StateStore, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self._whole = whole

    def __len__(self) -> int:
        return len(self._whole)

    @property
    def num_bytes(self) -> int:
        return self._whole.num_bytes

    def get(self, key: bytes) -> Tensor | None:
        return self._whole.get(key)

    def put(self, key: bytes, value: Tensor) -> None:
        size = value.numel() * value.element_size()
        if self._whole.get(key) is None and self._used + size <= self._limit:
            self._used += size
            self._whole.put(key, value)
