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

from collections.abc import Sequence
from typing import Final, final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.aggregation.kept import Kept
from fedpeft.aggregation.products import Factors, best_sum
from fedpeft.types import FloatVector, Segment

_NOTHING: Final = 1e-7  # of the longest column: what float32 would round away


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
        """The weighted mean of the updates."""
        self._kept.require("fedex")
        return self._kept.mean()

    def carried_after(self) -> FloatVector:
        """What was carried, and what the mean of factors lacks in this round, of each module."""
        if not self.carried.size:
            return self.carried
        carried = self.carried.astype(np.float64)
        before = np.zeros(self.size) if self.state is None else self.state.astype(np.float64)
        after = [before + update for update in self._kept.updates]
        mean = before + self._kept.mean()
        for product in self.products:
            if product.residual is not None:
                apart = _apart([product.factors(state) for state in after], product.factors(mean))
                self._keep(product.residual, apart, carried)
        return carried.astype(np.float32)

    def _keep(
        self, residual: tuple[Segment, Segment], apart: Sequence[Factors], carried: DoubleVector
    ) -> None:
        """Add what one module has left over to what is carried for it, in its place."""
        left, right = residual
        places = [slice(segment.start - self.size, segment.stop - self.size) for segment in residual]
        old = (carried[places[0]].reshape(left.shape), carried[places[1]].reshape(right.shape))
        b, a = best_sum([old, *apart], [1.0, *self._kept.shares], left.shape[1])
        lengths = np.linalg.norm(b, axis=0)
        b[:, lengths <= _NOTHING * lengths.max(initial=0.0)] = 0.0  # there by rounding alone
        roots = np.sqrt(np.where(b.any(axis=0), lengths, 1.0))  # half the scale to each, for narrow types
        carried[places[0]], carried[places[1]] = (b / roots).ravel(), (roots[:, None] * a).ravel()


def _apart(every: Sequence[Factors], mean: Factors) -> list[Factors]:
    """Each site's factors less their means: what they have in common would only cancel."""
    return [(b - mean[0], a - mean[1]) for b, a in every]
