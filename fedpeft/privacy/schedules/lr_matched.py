# SPDX-License-Identifier: Apache-2.0
"""More noise where steps are small: sigma_t proportional to lr_t^(-1/2) (arXiv:2110.07435).

Noise enters the weights as lr_t sigma_t. Of all schedules with the same sum of 1 / sigma_t^2, which is what
composition charges, this one has the least sum of lr_t^2 sigma_t^2. With a constant learning rate it is
``constant``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from fedpeft.privacy.schedules.base import ScheduleRule
from fedpeft.settings import PrivacySettings


@final
class Rule(ScheduleRule):
    """By the square root of the learning rate."""

    def factors(self, settings: PrivacySettings, learning_rates: Sequence[float]) -> tuple[float, ...]:
        """(lr_0 / lr_t)^(1/2)."""
        del settings  # the learning rates decide
        return tuple((learning_rates[0] / rate) ** 0.5 for rate in learning_rates)
