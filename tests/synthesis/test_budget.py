# SPDX-License-Identifier: Apache-2.0
"""What votes cost: their share by themselves, and with the steps what the run may cost in all."""

from __future__ import annotations

import pytest

from fedpeft.privacy.accountant import epsilon, epsilon_pld
from fedpeft.privacy.schedules.calibrated import calibrate_parts
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.budget import TradeOff, votes_of
from fedpeft.types import PrivacyEvent

DELTA = 1e-5


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_votes_cost_their_share_by_themselves(share: float) -> None:
    settings = SynthesisSettings(generator="pool", epsilon_share=share)
    ((stage, multiplier, releases),) = votes_of(settings, 4.0, DELTA)
    assert (stage, releases) == ("synthesis", 1)
    assert epsilon([PrivacyEvent("gaussian", multiplier, 1.0, 1, "record")], DELTA) <= share * 4.0 * (
        1 + 1e-3
    )
    less = PrivacyEvent("gaussian", 0.97 * multiplier, 1.0, 1, "record")
    assert epsilon([less], DELTA) > share * 4.0


@pytest.mark.parametrize("generator", [None, "public"])
def test_what_asks_nobody_costs_nothing(generator: str | None) -> None:
    assert votes_of(SynthesisSettings(generator=generator), 4.0, DELTA) == ()


@pytest.mark.parametrize("stretches", [((1.0, 20),), ((2.0, 5), (1.0, 10))])
def test_votes_and_steps_together_cost_what_the_run_may(stretches: tuple[tuple[float, int], ...]) -> None:
    parts = calibrate_parts(4.0, DELTA, 0.1, stretches, (PrivacyEvent("gaussian", 5.0, 1.0, 1, "record"),))
    steps = [PrivacyEvent("poisson-gaussian", m, 0.1, n, "record") for m, n in parts]
    both = epsilon_pld([PrivacyEvent("gaussian", 5.0, 1.0, 1, "record"), *steps], DELTA)
    assert 3.98 < both <= 4.0
    without = calibrate_parts(4.0, DELTA, 0.1, stretches)
    assert parts[0][0] > without[0][0]
    assert epsilon_pld(steps, DELTA) < 4.0


def trade_off(bins: int = 32, units: int = 5000) -> TradeOff:
    return TradeOff((6.0, 8.0), units, bins, 1, DELTA, 1.02)


def test_the_signal_is_mass_times_units_over_all_noise() -> None:
    made = trade_off()
    assert made.noise == pytest.approx(10.0)
    assert made.signal_over_noise(0.01) == pytest.approx(0.01 * 5000 / 10.0)
    assert made.signal_over_noise(made.smallest_mass) == pytest.approx(4.0)
    assert made.warnings() == ()
    assert "1.0200 times" in str(made)
    assert made.to_json()["signal_over_noise"] == pytest.approx(5000 / 32 / 10)


def test_bins_that_drown_are_warned_of() -> None:
    (warning,) = trade_off(units=500).warnings()
    assert "at most 12 bins" in warning
    (warning,) = trade_off(units=30).warnings()
    assert "no number of bins" in warning
