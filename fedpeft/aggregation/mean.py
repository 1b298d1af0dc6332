# SPDX-License-Identifier: Apache-2.0
"""The weighted mean of the updates that came.

A site's update is its learning rate times (sum of clipped gradients + noise) / expected batch. Weighted
by expected batches, the mean over the sites that answered is therefore (sum of their clipped gradients +
sum of their noises) / (sum of their expected batches): what one site with all their units would release.
A site that is missing leaves both sums, so the others keep their proportions and no update is scaled up
beyond its own calibration. For a linear adapter this averages the models themselves exactly.
"""

from __future__ import annotations

from typing import final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.types import FloatVector


@final
class Rule(Aggregator):
    """Sums in float64 and in the order of arrival; holds one vector."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._sum = np.zeros(size)
        self._weight = 0.0

    def add(self, update: FloatVector, weight: float) -> None:
        """Add ``weight * update``; see :meth:`Aggregator.add`."""
        self.check(update, weight)
        self._sum += weight * update.astype(np.float64)
        self._weight += weight

    def result(self) -> DoubleVector:
        """The sum over the weights that came."""
        if self._weight == 0:
            raise ValueError("mean: no update was added, so there is nothing to average")
        return self._sum / self._weight
