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
from fedpeft.aggregation.kept import Kept
from fedpeft.aggregation.products import best_sum, in_basis_near
from fedpeft.types import FloatVector


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
        """The step from the state of the round to the projected mean of the sites' models."""
        self._kept.require("product-svd")
        mean, shares = self._kept.mean(), self._kept.shares
        if not self.products:
            return mean
        before = np.zeros(self.size) if self.state is None else self.state.astype(np.float64)
        states, after = [before + update for update in self._kept.updates], before + mean
        for product in self.products:
            _, mean_a = product.factors(after)
            best = best_sum([product.factors(state) for state in states], shares, mean_a.shape[0])
            product.put(after, in_basis_near(best, mean_a))
        return after - before
