# SPDX-License-Identifier: Apache-2.0
"""Events that cost the same, added up: composition works on few groups, whatever the number of rounds.

Every change made here makes an event worse, never better: a step with hardly any privacy loss is counted as
one with a little more, and where there are too many different multipliers each is rounded down. So every
bound on what comes out is one on what went in.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from fedpeft.errors import ConfigError, EventError
from fedpeft.privacy.events import check_event
from fedpeft.types import PrivacyEvent

Step = tuple[float, float]  # noise multiplier, sampling rate
Groups = tuple[tuple[float, float, int], ...]  # (noise multiplier, sampling rate, steps), all different

EXPONENT = 500.0  # of e: from here on adding or subtracting one changes nothing, and squares overflow soon
MAX_GROUPS = 128
"""More different steps are merged by rounding before privacy loss distributions of them are composed."""
_RATIO = 1.01  # of neighbouring multipliers on the grid they are rounded to
# Steps below this scale of the loss are counted as if they had it: hockey-stick divergences much smaller
# than 1e-5 lose their digits in double precision.
_SMALLEST_LOSS = 1e-5


def check_delta(delta: float) -> None:
    """Refuse what is no probability.

    Raises:
        ConfigError: delta outside (0, 1).
    """
    if not 0 < delta < 1:
        raise ConfigError(f"delta = {delta}: must lie strictly between 0 and 1; change it")


class Tally:
    """Steps by what they cost; all full-batch Gaussians become one, which is exact."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.unit = ""
        self.precision = 0.0
        self.steps_of: defaultdict[Step, int] = defaultdict(int)

    def add(self, event: PrivacyEvent) -> None:
        """Count an event.

        Raises:
            EventError: it cannot be composed, or protects another unit than those before.
        """
        check_event(event)
        if self.unit and event.unit != self.unit:
            both = sorted((self.unit, event.unit))
            raise EventError(f"units {both}: events that protect different units do not compose")
        self.unit = event.unit
        # dp-accounting drops events whose multiplier is not a Python float.
        multiplier, rate = float(event.noise_multiplier), float(event.sampling_rate)
        if rate == 1:
            self.precision += event.steps / multiplier**2
        else:
            self.steps_of[_worsen(multiplier, rate)] += event.steps

    def groups(self) -> Groups:
        """What was counted, in order of the multiplier."""
        return _sorted(self.steps_of, self.precision)


def merge(events: Iterable[PrivacyEvent]) -> Groups:
    """Check events and add up equal ones.

    Raises:
        EventError: an event that cannot be composed, or events of two units.
    """
    tally = Tally()
    for event in events:
        tally.add(event)
    return tally.groups()


def coarse(groups: Groups) -> Groups:
    """At most ``MAX_GROUPS`` groups that cost at least as much: multipliers rounded down to a grid.

    The grid is 1 % wide, and wider only if that is not enough; few enough groups stay as they are.
    """
    ratio, rounded = _RATIO, groups
    while len(rounded) > MAX_GROUPS:
        steps_of: defaultdict[Step, int] = defaultdict(int)
        precision = 0.0
        for multiplier, rate, steps in groups:
            if rate == 1:
                precision += steps / multiplier**2
            else:
                steps_of[_round_down(multiplier, ratio), _round_up(rate, ratio)] += steps
        rounded = _sorted(steps_of, precision)
        ratio *= ratio
    return rounded


def log1p_expm1(factor: float, exponent: float) -> float:
    """``log(1 + factor * (e^exponent - 1))`` without overflow."""
    if exponent > EXPONENT:
        return exponent + math.log(factor)
    return math.log1p(factor * math.expm1(exponent))


def _sorted(steps_of: Mapping[Step, int], precision: float) -> Groups:
    full_batch = [(1 / math.sqrt(precision), 1.0, 1)] if precision else []
    return tuple(sorted([(sigma, rate, steps) for (sigma, rate), steps in steps_of.items()] + full_batch))


def _worsen(multiplier: float, rate: float) -> Step:
    """Raise the rate, then lower the multiplier, of a step whose loss is too small for doubles.

    Both are monotone: hockey-stick divergences are convex in the rate and zero at rate 0, and less noise
    is undone by adding some.
    """
    needed = _SMALLEST_LOSS / math.sqrt(math.expm1(min(multiplier**-2, EXPONENT)))
    rate = max(rate, min(needed, 0.5))
    return min(multiplier, 1 / math.sqrt(math.log1p((_SMALLEST_LOSS / rate) ** 2))), rate


def _round_down(multiplier: float, ratio: float) -> float:
    rounded = ratio ** math.floor(math.log(multiplier) / math.log(ratio))
    return rounded if rounded <= multiplier else rounded / ratio


def _round_up(rate: float, ratio: float) -> float:
    """Rates differ rarely, so a first, narrow grid leaves them alone."""
    if ratio == _RATIO:
        return rate
    rounded = ratio ** math.ceil(math.log(rate) / math.log(ratio))
    return min(rounded if rounded >= rate else rounded * ratio, 1 - 2**-53)
