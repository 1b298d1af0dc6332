# SPDX-License-Identifier: Apache-2.0
"""Noise that falls in steps: sigma_t = sigma_0 decay^floor(t / P) (ADP-VRSGP, arXiv:2510.20157).

Later rounds, nearer to an optimum, get the larger part of the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from fedpeft.privacy.schedules.base import ScheduleRule
from fedpeft.settings import PrivacySettings


@final
class Rule(ScheduleRule):
    """Times ``schedule_decay`` after every ``schedule_every`` rounds."""

    def factors(self, settings: PrivacySettings, learning_rates: Sequence[float]) -> tuple[float, ...]:
        """decay^floor(t / P) for t = 0, 1, ..."""
        decay, every = settings.schedule_decay, settings.schedule_every
        return tuple(decay ** (number // every) for number in range(len(learning_rates)))
