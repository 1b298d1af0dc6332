# SPDX-License-Identifier: Apache-2.0
"""How runs share a policy's budget.

A run is committed whole before its first step and takes a fixed part (epsilon_i, delta_i) of the budget:
its schedule, being fixed, is (epsilon_i, delta_i)-private by numerical composition, and runs add up in
epsilon AND in delta. That sum is a privacy filter even when later runs are chosen after earlier releases
(Rogers et al. 2016, arXiv:1605.08294) and when runs interleave (Vadhan and Wang 2021, arXiv:2105.14427;
Lyu 2022, arXiv:2207.08335), but only because a part is fixed at the commitment: splitting delta anew
whenever a run arrives would not be one.

A run takes the smallest *equal share* of both that covers it. One that was calibrated to the whole budget
takes all of it; one that needs half as much noise leaves about half of both for later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedpeft.privacy import accountant
from fedpeft.privacy.policy import Policy
from fedpeft.types import PrivacyEvent

_BISECTIONS = 12  # a run takes at most 1/4096 of what is left more than it needs


@dataclass(frozen=True, slots=True)
class Budget:
    """A part of what a policy allows; parts add up in both numbers."""

    epsilon: float
    delta: float


def what_is_left(policy: Policy, taken: Iterable[Budget], num_runs: int) -> Budget:
    """What the next run may take at most; zeros when that is nothing.

    Args:
        policy: the terms.
        taken: all parts, a filter's among them.
        num_runs: how many of them are runs: sub-budgets belong to runs, in order.
    """
    parts = tuple(taken)
    epsilon = policy.epsilon - math.fsum(part.epsilon for part in parts)
    delta = policy.delta - math.fsum(part.delta for part in parts)
    if policy.sub_budgets:
        cap = policy.sub_budgets[num_runs] if num_runs < len(policy.sub_budgets) else 0.0
        epsilon, delta = min(epsilon, cap), min(delta, policy.delta * cap / policy.epsilon)
    return Budget(max(epsilon, 0.0), max(delta, 0.0))


def smallest_share(events: Sequence[PrivacyEvent], left: Budget) -> Budget | None:
    """The smallest equal share of epsilon and delta that covers the events; ``None`` if all is too little."""

    def covers(share: float) -> bool:
        return accountant.epsilon(events, share * left.delta) <= share * left.epsilon

    if min(left.epsilon, left.delta) <= 0 or not covers(1.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if covers(middle) else (middle, high)
    return Budget(high * left.epsilon, high * left.delta)
