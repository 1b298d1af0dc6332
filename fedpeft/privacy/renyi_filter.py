# SPDX-License-Identifier: Apache-2.0
"""A Renyi filter: a budget for steps that nobody fixed beforehand, chosen one after another.

Whoever asks may choose each step's multiplier and rate after seeing all releases. As long as the Renyi
divergences of the steps, at ONE order that was fixed before the first of them, add up to no more than a
budget, everything together is Renyi private with that budget at that order (Feldman and Zrnic 2021,
arXiv:2008.11193; Lecuyer 2021, arXiv:2103.01379), and so (epsilon, delta)-private. The proof stands in
``docs/privacy.md``. A finite budget at every order would refuse everything at low ones; so only the order at
which the planned use is tightest gets one.

Orders are whole numbers, at which the divergence of a Poisson-sampled Gaussian is a finite sum.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from fedpeft.errors import EventError
from fedpeft.privacy.events import check_event
from fedpeft.types import PrivacyEvent

ORDERS = tuple(range(2, 65)) + tuple(range(72, 257, 8)) + (320, 384, 512, 768, 1024)
"""Among these one is chosen; a larger one is worth it for the smallest epsilons only."""

_ROUNDING = 1e-9  # relative; far above what the sums lose in doubles


@dataclass(frozen=True, slots=True)
class RenyiFilter:
    """What may be spent at one order.

    Attributes:
        order: fixed for the life of the filter.
        budget: most that the divergences at this order may add up to.
        delta: of the guarantee that the budget stands for.
        unit: what the steps protect.
    """

    order: int
    budget: float
    delta: float
    unit: str

    @classmethod
    def planned(cls, epsilon: float, delta: float, planned: PrivacyEvent) -> RenyiFilter:
        """The filter for (epsilon, delta) whose order allows the most steps of the planned kind.

        Raises:
            EventError: no accountant composes the planned step, or epsilon is too small for any order.
        """
        check_event(planned)
        budgets = {order: _budget(epsilon, delta, order) for order in ORDERS}
        steps = {
            order: budget / divergence(planned, order) for order, budget in budgets.items() if budget > 0
        }
        if not steps:
            raise EventError(
                f"filter: epsilon = {epsilon:g} is too small for delta = {delta:g}; raise either"
            )
        order = max(steps, key=steps.__getitem__)
        return cls(order, budgets[order], delta, planned.unit)

    @classmethod
    def from_json(cls, text: str) -> RenyiFilter:
        """Read what :meth:`to_json` wrote.

        Raises:
            EventError: it is something else.
        """
        try:
            fields = json.loads(text)
            made = cls(**fields)
            good = (
                type(made.order) is int
                and made.order >= 2
                and type(made.budget) is type(made.delta) is float
                and 0 < made.budget < math.inf
                and 0 < made.delta < 1
                and isinstance(made.unit, str)
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise EventError(f"filter {text!r:.80}: cannot be read ({error})") from error
        if not good:
            raise EventError(f"filter {text!r:.80}: a field is out of its range")
        return made

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def epsilon(self) -> float:
        """What the budget guarantees, with ``delta``."""
        return to_epsilon(self.budget, self.order, self.delta)

    def spent(self, events: Iterable[PrivacyEvent]) -> float:
        """Sum of the divergences of the events, at the filter's order."""
        return math.fsum(divergence(event, self.order) for event in events)

    def covers(self, events: Iterable[PrivacyEvent]) -> bool:
        """Whether the budget pays for all of these events."""
        events = tuple(events)
        return {event.unit for event in events} <= {self.unit} and self.spent(events) <= self.budget


def divergence(event: PrivacyEvent, order: int) -> float:
    """Renyi divergence of all steps of the event, rounded up.

    Poisson-sampled (Mironov, Talwar and Zhang 2019, arXiv:1908.10530, Theorem 4 and Section 3.3):
    ``log(sum_k C(a, k) (1-q)^(a-k) q^k exp(k (k-1) / (2 sigma^2))) / (a - 1)``; both directions of adding and
    removing are at most that.
    """
    return event.steps * _of_a_step(event.noise_multiplier, event.sampling_rate, order)


def to_epsilon(divergences: float, order: int, delta: float) -> float:
    """Canonne, Kamath and Steinke 2020 (arXiv:2004.00010), Proposition 12; never negative."""
    return max(0.0, divergences + math.log1p(-1 / order) - math.log(delta * order) / (order - 1))


@functools.lru_cache(maxsize=4096)
def _of_a_step(sigma: float, rate: float, order: int) -> float:
    if rate == 1:
        return order / (2 * sigma**2)
    logs = [
        _log_binomial(order, k)
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + k * (k - 1) / (2 * sigma**2)
        for k in range(order + 1)
    ]
    # The first two terms and the excess of the others are kept apart: their sum is near to one.
    excess = [log for k, log in enumerate(logs) if k >= 2]
    less = [log - k * (k - 1) / (2 * sigma**2) for k, log in enumerate(logs) if k >= 2]
    return _log1p_difference(excess, less) / (order - 1) * (1 + _ROUNDING)


def _log1p_difference(larger: list[float], smaller: list[float]) -> float:
    """``log(1 + sum(e^larger - e^smaller))``, each of ``larger`` at least its partner."""
    most = max(larger)
    if most > 500:
        return most + math.log(math.fsum(math.exp(log - most) for log in larger))
    # e^a - e^b = e^b (e^(a-b) - 1), which keeps its digits where both are near to each other.
    return math.log1p(
        math.fsum(
            math.exp(b) * math.expm1(a - b) if a - b < 500 else math.exp(a)
            for a, b in zip(larger, smaller, strict=True)
        )
    )


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _budget(epsilon: float, delta: float, order: int) -> float:
    """Most divergence at the order that still gives (epsilon, delta); possibly negative."""
    return epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)
