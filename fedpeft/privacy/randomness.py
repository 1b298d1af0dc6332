# SPDX-License-Identifier: Apache-2.0
"""Where secret random numbers come from.

Every request draws a fresh 256-bit key from the operating system; what it needs for its steps is derived
from that key by name, so that streams never share state: adding a unit to the data moves no other draw.
A seed replaces the operating system in tests and research, and forfeits the guarantee.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_WORD_BYTES: Final = 8


class KeyedStream:
    """Uniform 64-bit words from AES-256 in counter mode under one key."""

    def __init__(self, key: bytes) -> None:
        """Start the stream of a 32-byte ``key``, which must never be used for another."""
        self._cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> npt.NDArray[np.uint64]:
        """The next ``count`` words."""
        return np.frombuffer(self._cipher.update(bytes(count * _WORD_BYTES)), dtype="<u8")


@dataclass(frozen=True, slots=True)
class Randomness:
    """One request's secret key and the streams derived from it."""

    _key: bytes = field(repr=False)

    @staticmethod
    def fresh() -> Randomness:
        """From operating-system entropy; two calls never agree."""
        return Randomness(os.urandom(32))

    @staticmethod
    def seeded(seed: int, *names: object) -> Randomness:
        """The same for the same arguments: for tests and research, never for a guarantee."""
        return Randomness(hashlib.sha256(repr((seed, names)).encode()).digest())

    def subkey(self, *names: object) -> bytes:
        """A 32-byte key for one purpose; distinct names give independent keys."""
        return hashlib.blake2b(repr(names).encode(), key=self._key, digest_size=32).digest()

    def stream(self, *names: object) -> KeyedStream:
        """A stream for one purpose."""
        return KeyedStream(self.subkey(*names))
