# SPDX-License-Identifier: Apache-2.0
"""Sums of integers with discrete Gaussian noise: nothing private is ever rounded after the noise.

Every clipped unit is rounded to a public grid on which the sensitivity is L steps; the noise is the discrete
Gaussian with parameter s = 2^40 steps; sums are int64, where an overflow wraps, which no release can tell
from post-processing. Rounding moves a unit by at most sqrt(d)/2 steps, so units are first shrunk by as much.
That the release costs what a continuous one with multiplier sigma costs is proved in ``docs/privacy.md``:
up to factors of exp(-80,000) it is a function of a Gaussian release with deviation sqrt(s^2 - 64^2), and L
is at most that over sigma.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedpeft.errors import MechanismError
from fedpeft.privacy.arithmetic.base import Arithmetic
from fedpeft.privacy.clipping import SENSITIVITY
from fedpeft.privacy.discrete_gaussian import MAX_SCALE_BITS, discrete_gaussian
from fedpeft.privacy.randomness import KeyedStream

_NOISE_STEPS: Final = 2**MAX_SCALE_BITS
_LOST_TO_SMOOTHING: Final = 2**10  # steps; s - sqrt(s^2 - 64^2) is 2^-29
_MOST_SHRINKING: Final = 0.5


@final
class Kind(Arithmetic):
    """Integers throughout."""

    def __init__(self, size: int, noise_multiplier: float) -> None:
        """An empty sum of length ``size``.

        Raises:
            MechanismError: so much noise, or so long a vector, that rounding would cost half of the signal.
        """
        self._noise_multiplier = float(noise_multiplier)
        self._steps = math.floor((_NOISE_STEPS - _LOST_TO_SMOOTHING) / Fraction(self._noise_multiplier))
        shrinking = math.sqrt(size) / (2 * self._steps) if self._steps else math.inf
        if not shrinking <= _MOST_SHRINKING:
            raise MechanismError(
                f'noise_multiplier: {noise_multiplier!r} is too large for privacy.arithmetic = "grid" with '
                f'{size:,} parameters; use "float" or less noise'
            )
        self._steps_of_clip = self._steps / SENSITIVITY * (1 - shrinking)
        self._sum = torch.zeros(size, dtype=torch.int64)

    @property
    def noise_multiplier(self) -> float:
        """Of the continuous release behind this one, which has at least this."""
        return self._noise_multiplier

    def add(self, where: slice, factors: Tensor, rows: Tensor) -> None:
        """Round each unit by itself, then add integers: no order of additions, no neighbour matters."""
        if self._sum.device != rows.device:  # moved once: a copy to the host would wait for the device
            self._sum = self._sum.to(rows.device)
        exact = rows.double() * (factors * self._steps_of_clip)[:, None]
        self._sum[where] += exact.round_().long().sum(0)

    def noised(self, stream: KeyedStream) -> npt.NDArray[np.float64]:
        """Add integers, then leave the grid: what happens to the result is post-processing."""
        noised: npt.NDArray[np.int64] = self._sum.cpu().numpy() + discrete_gaussian(stream, self._sum.numel())
        value: npt.NDArray[np.float64] = noised * (SENSITIVITY / self._steps)
        return value
