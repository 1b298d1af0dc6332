# SPDX-License-Identifier: Apache-2.0
"""Poisson sampling of units, each by a draw of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from fedpeft.privacy.randomness import Randomness

_RANGE = 2**64


def inclusion_threshold(sampling_rate: float) -> int:
    """The 64-bit threshold below which a unit is in; its probability never exceeds ``sampling_rate``."""
    return min(_RANGE, math.floor(sampling_rate * _RANGE))


def poisson_sample(
    units: Iterable[str], sampling_rate: float, randomness: Randomness, step: int
) -> list[str]:
    """The units of one step, in the order given.

    A unit's draw is a keyed hash of its id, so that it does not depend on which other units there are.
    """
    key = randomness.subkey("inclusion", step)
    threshold = inclusion_threshold(sampling_rate)
    return [unit for unit in units if _draw(unit, key) < threshold]


def _draw(unit: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(unit.encode(), key=key, digest_size=8).digest(), "big")
