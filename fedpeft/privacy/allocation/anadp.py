# SPDX-License-Identifier: Apache-2.0
"""Less noise for the important (AnaDP, arXiv:2410.02912), on releases instead of clean gradients.

The score of a segment is its sensitivity times its uncertainty: the running mean of (weight x gradient)^2
and how far it swings, both freed of the known noise. With clip levels fixed at C_s^2 = C^2 d_s / d, the
shares alpha_s proportional to C_s sqrt(w_s d_s) have the least noise energy weighted by scores w_s.

AnaDP as published takes scores from clean gradients and spreads multipliers under one global clip, where
only the smallest multiplier would count. Here every segment's noise counts as what it is.
"""

from __future__ import annotations

from typing import final

import numpy as np

from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, balanced, make_allocation
from fedpeft.privacy.allocation.history import History


@final
class Rule(AllocationRule):
    """Shares by smoothed sensitivity times uncertainty; the same clip level for every coordinate."""

    def allocate(self, facts: Facts, history: History) -> Allocation:
        """From the importance and the uncertainty of each segment."""
        scores = np.sqrt(history.importance) * np.sqrt(history.uncertainty)  # both are squares
        levels = facts.sizes / facts.sizes.sum()
        shares = np.sqrt(levels * scores * facts.sizes)
        return make_allocation(facts, levels, balanced(shares, facts.sizes))
