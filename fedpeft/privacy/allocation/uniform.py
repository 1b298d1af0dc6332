# SPDX-License-Identifier: Apache-2.0
"""The same noise everywhere: the ordinary Gaussian mechanism with one clip level."""

from __future__ import annotations

from typing import ClassVar, final

from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, make_allocation
from fedpeft.privacy.allocation.history import History


@final
class Rule(AllocationRule):
    """Shares and clip levels as the segments' sizes; every scale is C."""

    learns: ClassVar[bool] = False

    def allocate(self, facts: Facts, history: History) -> Allocation:
        """Shares d_s / d and clip levels C sqrt(d_s / d), so that b_s = C for every segment."""
        del history  # nothing is learnt
        parts = facts.sizes / facts.sizes.sum()
        return make_allocation(facts, parts, parts)
