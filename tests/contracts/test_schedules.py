# SPDX-License-Identifier: Apache-2.0
"""What every noise schedule in its folder promises."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest

from fedpeft.config import option_names
from fedpeft.errors import MechanismError
from fedpeft.privacy.schedules.base import ScheduleRule, find, stretches
from fedpeft.settings import PrivacySettings

RATES = tuple(0.5 * 0.8 ** (i // 2) for i in range(7))
SETTINGS = PrivacySettings(schedule_decay=0.7, schedule_every=3)


@pytest.mark.parametrize("name", option_names("privacy.schedule"))
class TestRule:
    def test_is_final_and_documented(self, name: str) -> None:
        rule = type(find(name))
        assert rule.__mro__[1] is ScheduleRule
        assert getattr(rule, "__final__", False)
        assert inspect.getdoc(inspect.getmodule(rule))
        assert not vars(find(name))

    @pytest.mark.parametrize("rounds", [1, 2, 7])
    def test_one_finite_positive_factor_a_round(self, name: str, rounds: int) -> None:
        factors = find(name).factors(SETTINGS, RATES[:rounds])
        assert len(factors) == rounds
        assert all(math.isfinite(factor) and factor > 0 for factor in factors)

    def test_sees_nothing_but_the_configuration(self, name: str) -> None:
        assert find(name).factors(SETTINGS, RATES) == find(name).factors(SETTINGS, RATES)
        parameters = inspect.signature(find(name).factors).parameters
        assert set(parameters) == {"settings", "learning_rates"}

    def test_all_steps_are_counted(self, name: str) -> None:
        parts = stretches(find(name), SETTINGS, RATES, local_steps=3)
        assert sum(steps for _, steps in parts) == 21
        assert all(left[0] != right[0] for left, right in itertools.pairwise(parts))


def test_the_shipped_rules_are_found() -> None:
    assert set(option_names("privacy.schedule")) == {"constant", "step-decay", "lr-matched"}


class Broken(ScheduleRule):
    """Gives what it was told to."""

    def __init__(self, *factors: float) -> None:
        self.given = factors

    def factors(self, settings, learning_rates):
        return self.given


@pytest.mark.parametrize(
    "factors", [(), (1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf), (1.0, 1.0, 1.0)]
)
def test_factors_that_are_none_are_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises(MechanismError, match=r"privacy\.schedule"):
        stretches(Broken(*factors), SETTINGS, (0.5, 0.5), 1)
