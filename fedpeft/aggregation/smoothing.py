# SPDX-License-Identifier: Apache-2.0
"""Laplacian smoothing of the aggregate across layers (DP-LSSGD, Wang et al., https://arxiv.org/abs/1906.12056).

The tensors of one module in all blocks, of the same shape, become a chain x_1, ..., x_n, and the chain
x <- (I + s L)^-1 x with L the Laplacian of the path: independent noise in neighbours averages out, what they
have in common stays, and sums are kept. It helps only where the same coordinate means something alike in
neighbouring blocks. With an ``ffa`` adapter it hardly does: each block has a random A of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpeft.aggregation.base import DoubleVector
from fedpeft.types import Layout, Segment


@dataclass(frozen=True, slots=True)
class Smoother:
    """Post-processing of a release: linear, fixed before the run.

    Attributes:
        strength: s; 0 changes nothing.
    """

    layout: Layout
    strength: float

    def smooth(self, values: DoubleVector) -> DoubleVector:
        """``(d,)`` smoothed."""
        return self._apply(values, power=1)

    def noise_after(self, variance: DoubleVector) -> DoubleVector:
        """``(d,)`` the variance of smoothed noise whose coordinates were independent, of ``variance``."""
        return self._apply(variance, power=2)

    def _apply(self, values: DoubleVector, power: int) -> DoubleVector:
        if self.strength == 0:
            return values
        smoothed = values.copy()
        for chain in self._chains():
            kernel = _kernel(len(chain), self.strength) ** power  # of each entry
            rows = kernel @ np.stack([values[segment.slice] for segment in chain])
            for segment, row in zip(chain, rows, strict=True):
                smoothed[segment.slice] = row
        return smoothed

    def _chains(self) -> list[list[Segment]]:
        chains: dict[tuple[object, ...], list[Segment]] = {}
        for segment in sorted(self.layout.segments, key=lambda segment: segment.block):
            if segment.block >= 0:
                chains.setdefault((segment.module, segment.shape), []).append(segment)
        return list(chains.values())


def _kernel(length: int, strength: float) -> DoubleVector:
    """``(n, n)`` (I + s L)^-1 for a path of n; its rows and columns sum to 1."""
    laplacian = np.diag(np.full(length - 1, -1.0), 1) + np.diag(np.full(length - 1, -1.0), -1)
    laplacian -= np.diag(laplacian.sum(axis=1))
    return np.asarray(np.linalg.inv(np.eye(length) + strength * laplacian))
