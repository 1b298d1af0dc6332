# SPDX-License-Identifier: Apache-2.0
"""The mean of the sites' models, projected to the adapter's rank, where both factors are trained.

With ``lora`` the mean of factors is not the mean of products. This rule takes sum w_k B_k A_k itself, of the
factors that each site's release leads to, and the nearest matrix of the adapter's rank to it (FlexLoRA, Bai
et al. 2024, arXiv 2402.11505, computed as in ``products``; there the product is formed whole). For
linear kinds it is the mean. Post-processing of releases, like every rule.

It holds every site's update of the round, as many vectors as there are sites, and the noise of its result is
not that of the mean: ``docs/aggregation.md`` has what was measured.
"""

from __future__ import annotations

from typing import final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.aggregation.products import best_sum, in_basis_near
from fedpeft.types import FloatVector


@final
class Rule(Aggregator):
    """Keeps a copy of each update until the round is over."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._updates: list[DoubleVector] = []
        self._weights: list[float] = []

    def add(self, update: FloatVector, weight: float) -> None:
        """Keep a copy; see :meth:`Aggregator.add`."""
        self.check(update, weight)
        self._updates.append(update.astype(np.float64))
        self._weights.append(weight)

    def result(self) -> DoubleVector:
        """The step from the state of the round to the projected mean of the sites' models."""
        if not self._updates:
            raise ValueError("product-svd: no update was added, so there is nothing to average")
        shares = np.array(self._weights) / sum(self._weights)
        mean: DoubleVector = np.zeros(self.size)
        for share, update in zip(shares, self._updates, strict=True):
            mean += share * update
        before = np.zeros(self.size) if self.state is None else self.state.astype(np.float64)
        after = before + mean
        for product in self.products:
            factors = [product.factors(before + update) for update in self._updates]
            _, mean_a = product.factors(after)
            best = best_sum(factors, [float(share) for share in shares], mean_a.shape[0])
            product.put(after, in_basis_near(best, mean_a))
        return after - before if self.products else mean
