# SPDX-License-Identifier: Apache-2.0
"""A planned schedule, made to fit what a site has left."""

from __future__ import annotations

import math
from dataclasses import replace

from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.calibration import TICKS, smallest_multiplier
from fedpeft.privacy.events import MAX_NOISE_MULTIPLIER, events_of
from fedpeft.types import Schedule


def fitted(schedule: Schedule, epsilon_left: float, delta_left: float) -> Schedule:
    """Raise all multipliers by one factor, as far as it takes to stay within what is left.

    Args:
        schedule: as planned; returned as it is where it fits.
        epsilon_left: of the site; zero or less leaves the schedule alone, for the site to refuse.
        delta_left: likewise.
    """
    if epsilon_left <= 0 or not 0 < delta_left < 1 or _cost(schedule, delta_left) <= epsilon_left:
        return schedule
    first = schedule.parts[0][0]
    guess = first * (_cost(schedule, delta_left) / epsilon_left) ** (1 / 1.3)
    found = smallest_multiplier(
        min(guess, MAX_NOISE_MULTIPLIER),
        lambda multiplier: _cost(_scaled(schedule, multiplier / first), delta_left),
        epsilon_left,
    )
    return schedule if found is None else _scaled(schedule, found / first)


def _scaled(schedule: Schedule, factor: float) -> Schedule:
    """Multipliers times the factor, to four decimals, upwards."""

    def scaled(multiplier: float) -> float:
        return min(math.ceil(multiplier * factor * TICKS - 1e-6) / TICKS, MAX_NOISE_MULTIPLIER)

    return replace(
        schedule,
        parts=tuple((scaled(multiplier), steps) for multiplier, steps in schedule.parts),
        votes=tuple((stage, scaled(multiplier), number) for stage, multiplier, number in schedule.votes),
    )


def _cost(schedule: Schedule, delta: float) -> float:
    return epsilon(events_of(schedule), delta)
