# SPDX-License-Identifier: Apache-2.0
"""A public map from text to vectors: fixed code and constants, no data and no model.

Counts of character n-grams are hashed into buckets with a sign, and the buckets projected by a fixed Gaussian
matrix (Johnson and Lindenstrauss), so that texts which share n-grams are near to each other. Coordinator and
sites compute it alike: the hash is CRC-32, the matrix comes from NumPy's frozen Mersenne generator.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

NAME: Final = "char-3-5"
"""Of this map; another version of it gets another name."""
DIMENSION: Final = 256

_LENGTHS: Final = (3, 4, 5)
_BUCKETS: Final = 4096
_SEED: Final = 20240411
_MOST_CHARACTERS: Final = 2000

Vector = npt.NDArray[np.float64]


def pair_text(instruction: str, response: str) -> str:
    """What is embedded of an instruction-response pair."""
    return f"{instruction}\n{response}"


def embed(text: str) -> Vector:
    """``(256,)`` of norm 1; zero for a text without a single n-gram. A function of this text alone.

    Case and runs of white space do not matter, nor does anything after the first 2000 characters.
    """
    clean = " ".join(text.lower().split())[:_MOST_CHARACTERS].encode("utf-8", "surrogatepass")
    hashes = [
        zlib.crc32(clean[start : start + length])
        for length in _LENGTHS
        for start in range(len(clean) - length + 1)
    ]
    words = np.array(hashes, dtype=np.uint32)
    signs = np.where(words >> 31, 1.0, -1.0)
    counts = np.bincount(words % _BUCKETS, weights=signs, minlength=_BUCKETS)
    used = np.flatnonzero(counts)
    vector: Vector = counts[used] @ _projection()[used]
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > 0 else np.zeros(DIMENSION)


def embed_all(texts: Iterable[str]) -> Vector:
    """``(n, 256)``, a row for each text."""
    return np.array([embed(text) for text in texts]).reshape(-1, DIMENSION)


@functools.cache
def _projection() -> Vector:
    matrix = np.random.RandomState(_SEED).standard_normal((_BUCKETS, DIMENSION))
    matrix.setflags(write=False)
    return matrix
