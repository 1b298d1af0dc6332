# SPDX-License-Identifier: Apache-2.0
"""How the noise multiplier goes from round to round, up to one common factor that calibration finds.

A rule is one file in this folder with a final class ``Rule``; the file's name is the option (``a_b.py`` is
``"a-b"``). It sees nothing but the configuration, so every step's multiplier is known before the first.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby

from fedpeft.errors import MechanismError
from fedpeft.settings import PrivacySettings


class ScheduleRule(ABC):
    """Makes the relative multiplier of every round."""

    @abstractmethod
    def factors(self, settings: PrivacySettings, learning_rates: Sequence[float]) -> tuple[float, ...]:
        """One finite positive number a round; the multipliers will be proportional to them.

        Args:
            settings: ``[privacy]``.
            learning_rates: the public learning rate of every round.
        """


def find(name: str) -> ScheduleRule:
    """The rule in the module of that name."""
    module = importlib.import_module(f"fedpeft.privacy.schedules.{name.replace('-', '_')}")
    rule: ScheduleRule = module.Rule()
    return rule


def stretches(
    rule: ScheduleRule, settings: PrivacySettings, learning_rates: Sequence[float], local_steps: int
) -> tuple[tuple[float, int], ...]:
    """``(factor, steps)`` of one stretch of equal steps after another, over all rounds.

    Raises:
        MechanismError: the rule gave another number of factors, or one that is not finite and positive.
    """
    factors = rule.factors(settings, learning_rates)
    if len(factors) != len(learning_rates) or not all(math.isfinite(f) and f > 0 for f in factors):
        raise MechanismError(
            f"privacy.schedule: the rule gave {factors!r:.200}, must give {len(learning_rates)} finite "
            "positive factors; choose another rule"
        )
    return tuple((factor, local_steps * len(list(rounds))) for factor, rounds in groupby(factors))
