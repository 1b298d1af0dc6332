# SPDX-License-Identifier: Apache-2.0
"""From privacy events to epsilon, and from epsilon to a noise multiplier.

Every figure is a proven upper bound in the add-or-remove-one relation. Two of them exist: numerical
composition of privacy loss distributions (PLD), valid for a schedule that was fixed before its first
step, and Renyi differential privacy (RDP). A third, opacus' accountant, serves as a second opinion.
How each is computed stands in ``fedpeft.privacy.accounting``; its libraries are imported only when a
figure is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from fedpeft.errors import ConfigError, EventError
from fedpeft.privacy.accounting import pld, rdp
from fedpeft.privacy.accounting.composition import Composition
from fedpeft.privacy.accounting.groups import check_delta, merge
from fedpeft.privacy.accounting.opinion import SecondOpinion, opinion_of_opacus, renyi_of_opacus
from fedpeft.privacy.accounting.pld import MAX_EPSILON
from fedpeft.privacy.calibration import central_limit, smallest_multiplier
from fedpeft.privacy.events import POISSON_GAUSSIAN, check_event
from fedpeft.types import PrivacyEvent

__all__ = [
    "MAX_EPSILON",
    "Composition",
    "SecondOpinion",
    "calibrate",
    "epsilon",
    "epsilon_pld",
    "epsilon_rdp",
    "epsilon_second_opinion",
    "renyi_second_opinion",
    "second_opinion",
]


def epsilon(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound what all events together cost: the smaller of PLD and RDP.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    events = tuple(events)
    return min(epsilon_pld(events, delta), epsilon_rdp(events, delta))


def epsilon_pld(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by privacy loss distributions (dp-accounting, pessimistic connect-the-dots).

    Infinite where it cannot be computed: losses too large for an array, or a delta that drowns in rounding
    errors (near ``1e-16`` a step).

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = merge(events)
    check_delta(delta)
    return pld.bound(groups, delta)


def epsilon_rdp(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by Renyi divergences (dp-accounting, its default orders).

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = merge(events)
    check_delta(delta)
    return rdp.bound(groups, delta)


def epsilon_second_opinion(events: Iterable[PrivacyEvent], delta: float) -> float:
    """Bound the cost by opacus' accountant; see :func:`second_opinion`."""
    return second_opinion(events, delta).epsilon


def second_opinion(events: Iterable[PrivacyEvent], delta: float) -> SecondOpinion:
    """Ask opacus: its PRV accountant (Gopi et al. 2021, arXiv:2106.02848), else its RDP accountant.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
        ConfigError: delta outside (0, 1).
    """
    groups = merge(events)
    check_delta(delta)
    return opinion_of_opacus(groups, delta) if groups else SecondOpinion(0.0, "prv", 0.0)


def renyi_second_opinion(events: Iterable[PrivacyEvent], order: int) -> float:
    """The Renyi divergence of all events at an order, by opacus.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
    """
    return renyi_of_opacus(merge(events), order)


@functools.lru_cache(maxsize=256)
def calibrate(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Find the smallest noise multiplier of four decimals whose PLD epsilon is at most ``epsilon``.

    Args:
        epsilon: target, in (0, 1000].
        delta: target, in (0, 1).
        sampling_rate: of every step, in (0, 1].
        steps: private steps in all.

    Raises:
        ConfigError: a value out of range, or no multiplier that reaches the target.
    """
    if not 0 < epsilon <= MAX_EPSILON:
        rule = f"must lie in (0, {MAX_EPSILON:g}] to calibrate noise for it"
        raise ConfigError(f"epsilon = {epsilon}: {rule}; change privacy.epsilon")
    check_delta(delta)

    def cost(noise_multiplier: float) -> float:
        event = PrivacyEvent(POISSON_GAUSSIAN, noise_multiplier, sampling_rate, steps, "record")
        return epsilon_pld([event], delta)

    try:
        check_event(PrivacyEvent(POISSON_GAUSSIAN, 1.0, sampling_rate, steps, "record"))
    except EventError as error:
        raise ConfigError(str(error)) from error
    guess = central_limit(epsilon, delta, sampling_rate, steps)
    multiplier = smallest_multiplier(guess, cost, epsilon)
    if multiplier is None:
        raise ConfigError(
            f"epsilon = {epsilon}: no noise multiplier reaches it with delta = {delta}, sampling_rate = "
            f"{sampling_rate}, steps = {steps}; raise epsilon or delta, or take fewer steps"
        )
    return multiplier
