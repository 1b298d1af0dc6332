# SPDX-License-Identifier: Apache-2.0
"""The same noise in every round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from fedpeft.privacy.schedules.base import ScheduleRule
from fedpeft.settings import PrivacySettings


@final
class Rule(ScheduleRule):
    """One multiplier for the whole run."""

    def factors(self, settings: PrivacySettings, learning_rates: Sequence[float]) -> tuple[float, ...]:
        """All 1."""
        del settings  # nothing to choose
        return (1.0,) * len(learning_rates)
