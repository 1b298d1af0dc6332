# SPDX-License-Identifier: Apache-2.0
"""From relative multipliers to the smallest ones that an epsilon allows, by one common factor."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Final

from fedpeft.errors import ConfigError
from fedpeft.privacy.accountant import calibrate, epsilon_pld
from fedpeft.privacy.calibration import TICKS, central_limit, smallest_multiplier
from fedpeft.privacy.events import MAX_NOISE_MULTIPLIER, MIN_NOISE_MULTIPLIER, POISSON_GAUSSIAN
from fedpeft.types import PrivacyEvent

Parts = tuple[tuple[float, int], ...]
"""``(multiplier, steps)`` of one stretch of steps after another."""

_MOST_DISTINCT: Final = 200


@functools.lru_cache(maxsize=256)
def calibrate_parts(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    stretches: Parts,
    beside: tuple[PrivacyEvent, ...] = (),
) -> Parts:
    """The smallest multipliers proportional to ``stretches`` whose PLD epsilon is at most ``epsilon``.

    Each is rounded up to four decimals; all steps are composed exactly as they will be taken.

    Args:
        epsilon: target, in (0, 1000].
        delta: target, in (0, 1).
        sampling_rate: of every step, in (0, 1].
        stretches: ``(factor, steps)``, factors finite and positive.
        beside: what else the same epsilon pays for, composed with the steps.

    Raises:
        ConfigError: a value out of range, too many different factors, or no factor that reaches the target.
    """
    factors = {factor for factor, _ in stretches}
    steps = sum(number for _, number in stretches)
    if len(factors) > _MOST_DISTINCT:
        raise ConfigError(
            f"privacy.schedule: makes {len(factors)} different multipliers, at most {_MOST_DISTINCT} can be "
            "composed in good time; let them change after more rounds each"
        )
    constant = calibrate(epsilon, delta, sampling_rate, steps)  # checks the values too
    if len(factors) == 1 and not beside:
        return tuple((constant, number) for _, number in stretches)
    largest = max(factors)
    relative = tuple((factor / largest, number) for factor, number in stretches)

    def cost(multiplier: float) -> float:
        parts = _scaled(relative, multiplier)
        if min(part for part, _ in parts) < MIN_NOISE_MULTIPLIER:
            return math.inf
        events = [PrivacyEvent(POISSON_GAUSSIAN, m, sampling_rate, n, "record") for m, n in parts]
        return epsilon_pld([*events, *(replace(event, unit="record") for event in beside)], delta)

    # Composition charges about the sum of 1 / multiplier^2.
    heavier = math.sqrt(sum(number / factor**2 for factor, number in relative) / steps)
    guess = min(central_limit(epsilon, delta, sampling_rate, steps) * heavier, MAX_NOISE_MULTIPLIER)
    multiplier = smallest_multiplier(guess, cost, epsilon)
    if multiplier is None:
        raise ConfigError(
            f"privacy.schedule: no multipliers up to {MAX_NOISE_MULTIPLIER:g} in these proportions reach "
            f"epsilon = {epsilon}; raise epsilon, or let the schedule change less"
            + (", or give stages beside the steps a smaller epsilon_share" if beside else "")
        )
    return _scaled(relative, multiplier)


def _scaled(relative: Parts, multiplier: float) -> Parts:
    return tuple((math.ceil(factor * multiplier * TICKS - 1e-6) / TICKS, steps) for factor, steps in relative)
