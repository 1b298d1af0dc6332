# SPDX-License-Identifier: Apache-2.0
"""The updates of a round, for rules that need every one of them at its end."""

from __future__ import annotations

import numpy as np

from fedpeft.aggregation.base import DoubleVector
from fedpeft.types import FloatVector


class Kept:
    """Copies of a round's updates with their weights, in the order in which they came."""

    def __init__(self, size: int) -> None:
        """Of updates of ``size`` numbers."""
        self._size = size
        self._updates: list[FloatVector] = []
        self._weights: list[float] = []

    def add(self, update: FloatVector, weight: float) -> None:
        """Keep a copy; whoever made the update may use its memory again."""
        self._updates.append(update.copy())
        self._weights.append(weight)

    def require(self, rule: str) -> None:
        """Raises ``ValueError``, in the name of ``rule``, where nothing was kept."""
        if not self._updates:
            raise ValueError(f"{rule}: no update was added, so there is nothing to average")

    @property
    def updates(self) -> list[DoubleVector]:
        """All of them, each ``(d,)``."""
        return [update.astype(np.float64) for update in self._updates]

    @property
    def weights(self) -> list[float]:
        """As many."""
        return list(self._weights)

    @property
    def shares(self) -> list[float]:
        """The weights, over their sum."""
        total = sum(self._weights)
        return [weight / total for weight in self._weights]

    def mean(self) -> DoubleVector:
        """``(d,)`` the weighted mean."""
        mean: DoubleVector = np.zeros(self._size)
        for share, update in zip(self.shares, self._updates, strict=True):
            mean += share * update.astype(np.float64)
        return mean
