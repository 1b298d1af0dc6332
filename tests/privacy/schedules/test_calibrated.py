# SPDX-License-Identifier: Apache-2.0
"""One common factor, the smallest that epsilon allows, composed as the steps will be taken."""

import pytest

from fedpeft.errors import ConfigError
from fedpeft.privacy.accountant import calibrate, epsilon_pld
from fedpeft.privacy.schedules.calibrated import calibrate_parts
from fedpeft.types import PrivacyEvent

DELTA, RATE = 1e-5, 0.2
STRETCHES = ((2.0, 3), (1.0, 4), (0.5, 2))


def _epsilon(parts) -> float:
    return epsilon_pld([PrivacyEvent("poisson-gaussian", m, RATE, n, "record") for m, n in parts], DELTA)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_the_whole_schedule_costs_epsilon_and_a_little_less_noise_costs_more(epsilon):
    parts = calibrate_parts(epsilon, DELTA, RATE, STRETCHES)
    assert epsilon * 0.995 < _epsilon(parts) <= epsilon
    assert _epsilon([(m * 0.999, n) for m, n in parts]) > epsilon


def test_proportions_and_steps_are_those_of_the_schedule():
    parts = calibrate_parts(2.0, DELTA, RATE, STRETCHES)
    assert [n for _, n in parts] == [3, 4, 2]
    assert [m / parts[1][0] for m, _ in parts] == pytest.approx([2.0, 1.0, 0.5], rel=2e-4)


def test_the_unit_of_the_factors_does_not_matter():
    scaled = tuple((1e6 * factor, steps) for factor, steps in STRETCHES)
    assert calibrate_parts(2.0, DELTA, RATE, scaled) == calibrate_parts(2.0, DELTA, RATE, STRETCHES)


def test_one_factor_is_the_constant_schedule():
    multiplier = calibrate(2.0, DELTA, RATE, 9)
    assert calibrate_parts(2.0, DELTA, RATE, ((3.0, 9),)) == ((multiplier, 9),)
    assert _epsilon(((multiplier, 9),)) <= 2.0


def test_charging_the_mean_multiplier_would_understate_it():
    """The control: a schedule is not its average."""
    parts = calibrate_parts(2.0, DELTA, RATE, STRETCHES)
    mean = sum(m * n for m, n in parts) / 9
    assert _epsilon(((mean, 9),)) < 0.8 * 2.0


def test_what_cannot_be_reached_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"privacy\.schedule"):
        calibrate_parts(2.0, DELTA, RATE, ((1.0, 3), (1e-8, 3)))
    with pytest.raises(ConfigError, match=r"privacy\.schedule: makes 201"):
        calibrate_parts(2.0, DELTA, RATE, tuple((1.0 + i, 1) for i in range(201)))
