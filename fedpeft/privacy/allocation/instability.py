# SPDX-License-Identifier: Apache-2.0
"""Unstable segments bear more noise, important ones less (arXiv:2512.06711, in a form that is private).

Of all scales under which a unit's scaled gradient is expected to be as long as under ``uniform``,
sum v_s / b_s^2 = sum v_s / C^2, these have the least noise energy sum w_s d_s b_s^2, which Cauchy and Schwarz
give in closed form: b_s^2 proportional to sqrt(v_s / (w_s d_s)). v_s is what a unit's gradient has in
segment s, its instability; w_s the importance of a coordinate there. As shares and clip levels,
C_s^2 = C^2 v_s / sum v and alpha_s proportional to C_s sqrt(w_s d_s).

Where noise hides a segment's variance the estimates are zero, and all scales tend to C: nothing is guessed.
"""

from __future__ import annotations

from typing import final

import numpy as np

from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, balanced, make_allocation
from fedpeft.privacy.allocation.history import DoubleVector, History


def unit_parts(facts: Facts, history: History) -> DoubleVector:
    """``(S,)`` the part of a unit's squared gradient norm that each segment is expected to have."""
    return balanced(facts.sizes * history.variance, facts.sizes)


def importance_weights(facts: Facts, history: History) -> DoubleVector:
    """``(S,)`` w_s: root mean square of weight times gradient, with mean 1 over the elements."""
    parts = balanced(facts.sizes * np.sqrt(history.importance), facts.sizes)
    return np.asarray(parts * facts.sizes.sum() / facts.sizes)


@final
class Rule(AllocationRule):
    """Least weighted noise energy for the same expected length of a unit's gradient."""

    def allocate(self, facts: Facts, history: History) -> Allocation:
        """From the variance and the importance of each segment."""
        levels = unit_parts(facts, history)
        shares = np.sqrt(levels * importance_weights(facts, history) * facts.sizes)
        return make_allocation(facts, levels, balanced(shares, facts.sizes))
