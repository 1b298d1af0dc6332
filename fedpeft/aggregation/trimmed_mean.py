# SPDX-License-Identifier: Apache-2.0
"""The mean of each coordinate without its largest and smallest values, against sites that misbehave.

Of K sites a fifth, at least one, is left out at either end (Yin et al. 2018, arXiv 1803.01498), in each
coordinate; with fewer than three sites nobody is. A site whose values are far off, by fault or by intent,
moves the result by no more than the others differ. It is no part of the privacy guarantee, and its price is
noise: leaving values out averages fewer of them. Public weights apply to those that are left.

It holds every site's update of the round. The noise variance that the server optimizer and the allocation are
told is that of the mean, which is somewhat too small: ``docs/aggregation.md`` has what was measured.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.aggregation.kept import Kept
from fedpeft.types import FloatVector

_SHARE: Final = 5  # one in so many is left out at either end
_FEWEST: Final = 3


@final
class Rule(Aggregator):
    """Keeps a copy of each update until the round is over."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._kept = Kept(size)

    def add(self, update: FloatVector, weight: float) -> None:
        """Keep a copy; see :meth:`Aggregator.add`."""
        self.check(update, weight)
        self._kept.add(update, weight)

    def result(self) -> DoubleVector:
        """The weighted mean of what is left, by coordinate."""
        self._kept.require("trimmed-mean")
        stacked = np.stack(self._kept.updates)
        cut = num_trimmed(len(stacked))
        order = np.argsort(stacked, axis=0, kind="stable")[cut : len(stacked) - cut]
        weights = np.array(self._kept.weights)[order]
        kept = np.take_along_axis(stacked, order, axis=0)
        return np.asarray((weights * kept).sum(0) / weights.sum(0))


def num_trimmed(num_sites: int) -> int:
    """How many sites are left out at either end."""
    return max(1, num_sites // _SHARE) if num_sites >= _FEWEST else 0
