# SPDX-License-Identifier: Apache-2.0
"""Sums in float64 with continuous noise: the proof's real numbers, up to their rounding."""

from __future__ import annotations

from typing import final

import numpy as np
import numpy.typing as npt
import torch
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
        self._sum = torch.zeros(size, dtype=torch.float64)

    @property
    def noise_multiplier(self) -> float:
        """Of the noise that is drawn."""
        return self._noise_stddev / SENSITIVITY

    def add(self, where: slice, factors: Tensor, rows: Tensor) -> None:
        """One product for all units."""
        if self._sum.device != rows.device:  # moved once: a copy to the host would wait for the device
            self._sum = self._sum.to(rows.device)
        self._sum[where] += factors @ rows.double()

    def noised(self, stream: KeyedStream) -> npt.NDArray[np.float64]:
        """Add continuous noise."""
        exact: npt.NDArray[np.float64] = self._sum.cpu().numpy()
        return exact + self._noise_stddev * standard_normal(stream, exact.size)
