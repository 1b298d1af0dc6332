# SPDX-License-Identifier: Apache-2.0
"""A composition that grows: what one more round costs does not depend on how many came before.

The Renyi curve is a running sum. Of the privacy loss distributions the composed one is kept, and what was
added since the last question is convolved with it; only when the kinds of steps outgrow what they are rounded
to, or the grid of losses no longer fits them, is everything composed anew - from the groups, not from the
rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fedpeft.privacy.accounting import pld, rdp
from fedpeft.privacy.accounting.groups import Groups, Tally, check_delta, coarse
from fedpeft.types import PrivacyEvent

_MOST_PENDING = 8  # more new kinds of steps at once are composed anew with all others
_FITS = 1.5  # a grid this many times wider than the best one is made anew


class Composition:
    """Events composed one after another; a diagnostic of what was spent, at any time."""

    def __init__(self, events: Iterable[PrivacyEvent] = ()) -> None:
        """Begin with these events.

        Raises:
            EventError: as :meth:`add`.
        """
        self._tally = Tally()
        self._settled: dict[tuple[float, float], int] = {}
        self._settled_precision = 0.0
        self._grid = 0.0
        self._composed: Any = None
        for event in events:
            self.add(event)

    def add(self, event: PrivacyEvent) -> None:
        """Count an event.

        Raises:
            EventError: it cannot be composed, or protects another unit than those before.
        """
        self._tally.add(event)

    def epsilon(self, delta: float) -> float:
        """The smaller of PLD and RDP for everything added so far.

        Raises:
            ConfigError: delta outside (0, 1).
        """
        check_delta(delta)
        groups = self._tally.groups()
        if not groups:
            return 0.0
        groups = coarse(groups)
        by_renyi = rdp.bound(groups, delta)
        remaining = delta - pld.rounding_error(groups)
        if remaining <= 0 or pld.too_large(groups):
            return by_renyi
        self._settle(groups)
        return min(by_renyi, float(self._composed.get_epsilon_for_delta(remaining)))

    def _settle(self, groups: Groups) -> None:
        """Bring the composed distribution up to what was counted."""
        grid = pld.grid_of(groups)
        missing = self._missing(groups) if self._grid <= _FITS * grid else None
        if missing is None or len(missing) > _MOST_PENDING:
            self._grid, self._composed = grid, pld.composed(groups, grid)
        else:
            for sigma, rate, steps in missing:
                one = pld.step_distribution(sigma, rate, self._grid)
                more = one if steps == 1 else one.self_compose(steps)
                self._composed = self._composed.compose(more)
        self._settled = {(sigma, rate): steps for sigma, rate, steps in groups if rate < 1}
        self._settled_precision = _precision(groups)

    def _missing(self, groups: Groups) -> Groups | None:
        """What is in the groups and not composed yet; ``None`` if something composed is not in them."""
        if self._composed is None:
            return None
        steps_of = {(sigma, rate): steps for sigma, rate, steps in groups if rate < 1}
        if any(steps_of.get(step, 0) < steps for step, steps in self._settled.items()):
            return None  # they were rounded since
        missing = [
            (*step, steps - self._settled.get(step, 0))
            for step, steps in steps_of.items()
            if steps > self._settled.get(step, 0)
        ]
        precision = _precision(groups) - self._settled_precision
        if precision > 1e-12 * self._settled_precision:
            missing.append((1 / math.sqrt(precision), 1.0, 1))
        return tuple(missing)


def _precision(groups: Groups) -> float:
    return sum(steps / sigma**2 for sigma, rate, steps in groups if rate == 1)
