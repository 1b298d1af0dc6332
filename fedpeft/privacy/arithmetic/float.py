# SPDX-License-Identifier: Apache-2.0
"""Sums in float64 with continuous noise: the proof's real numbers, up to their rounding."""

from __future__ import annotations

from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fedpeft.privacy.arithmetic.base import Arithmetic
from fedpeft.privacy.clipping import SENSITIVITY
from fedpeft.privacy.noise import standard_normal
from fedpeft.privacy.randomness import KeyedStream


@final
class Kind(Arithmetic):
    """Float64 throughout; which bits come out depends on the order of the additions."""

    def __init__(self, size: int, noise_multiplier: float) -> None:
        """An empty sum of length ``size``."""
        self._noise_stddev = float(noise_multiplier) * SENSITIVITY
        self._sum = np.zeros(size)

    @property
    def noise_multiplier(self) -> float:
        """Of the noise that is drawn."""
        return self._noise_stddev / SENSITIVITY

    def add(self, where: slice, factors: Tensor, rows: Tensor) -> None:
        """One product for all units."""
        self._sum[where] += (factors @ rows.double()).cpu().numpy()

    def noised(self, stream: KeyedStream) -> npt.NDArray[np.float64]:
        """Add continuous noise."""
        return self._sum + self._noise_stddev * standard_normal(stream, self._sum.size)
