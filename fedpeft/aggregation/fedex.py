# SPDX-License-Identifier: Apache-2.0
"""The mean of factors, and beside it what that lacks of the mean of products, where both factors are trained.

FedEx-LoRA (Singhal et al. 2024, arXiv 2410.09432): B and A become their means, and the residual
sum w_k B_k A_k - B A goes into the frozen weight, so that the model is the sites' mean model exactly. Here it
is not put into the weight, which would make the backbone another, but carried as two more factors beside the
adapter: sites hold them fixed, and an export has them as further directions of the same PEFT adapter. It
equals sum w_k (B_k - B)(A_k - A), whose rank is at most (sites - 1) r a round and grows round by round; with
less room (``adapter.residual_rank``) the nearest matrix of that rank is kept.

For linear kinds it is the mean, and nothing is left over. Post-processing of releases, like every rule. The
residual of noised factors is for the greater part a product of two noises: ``docs/aggregation.md``.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.aggregation.products import Factors, Product, best_sum
from fedpeft.types import FloatVector, Segment

_NOTHING: Final = 1e-7  # of the longest column: what float32 would round away


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
        """The weighted mean of the updates."""
        if not self._updates:
            raise ValueError("fedex: no update was added, so there is nothing to average")
        mean: DoubleVector = np.zeros(self.size)
        for share, update in zip(self._shares, self._updates, strict=True):
            mean += share * update
        return mean

    def carried_after(self) -> FloatVector:
        """What was carried, and what the mean of factors lacks in this round, of each module."""
        carried = self.carried.astype(np.float64)
        for product in self.products:
            if product.residual is not None:
                self._keep(product, product.residual, carried)
        return carried.astype(np.float32)

    @property
    def _shares(self) -> list[float]:
        total = sum(self._weights)
        return [weight / total for weight in self._weights]

    def _keep(self, product: Product, residual: tuple[Segment, Segment], carried: DoubleVector) -> None:
        """Put the new residual of one module into its place."""
        left, right = residual
        places = [slice(segment.start - self.size, segment.stop - self.size) for segment in (left, right)]
        old = (carried[places[0]].reshape(left.shape), carried[places[1]].reshape(right.shape))
        factors, shares = [old, *self._apart(product)], [1.0, *self._shares]
        b, a = best_sum(factors, shares, left.shape[1])
        lengths = np.linalg.norm(b, axis=0)
        b[:, lengths <= _NOTHING * lengths.max(initial=0.0)] = 0.0  # there by rounding alone
        carried[places[0]], carried[places[1]] = b.ravel(), a.ravel()

    def _apart(self, product: Product) -> list[Factors]:
        """Each site's factors less their means: what they have in common would only cancel."""
        before = np.zeros(self.size) if self.state is None else self.state.astype(np.float64)
        mean_b, mean_a = product.factors(before + self.result())
        every = [product.factors(before + update) for update in self._updates]
        return [(b - mean_b, a - mean_a) for b, a in every]
