# SPDX-License-Identifier: Apache-2.0
"""The public part of a run's training."""

from __future__ import annotations

import math

import pytest

from fedpeft.errors import MechanismError
from fedpeft.selection.regime import Regime, noise_of
from fedpeft.settings import FederationSettings


def regime(**changes: object) -> Regime:
    fields = {
        "noise": (0.1, 0.2, 0.3),
        "learning_rates": (1.0, 0.5, 0.25),
        "local_steps": 2,
        "clipping": "automatic",
        "clip_norm": 4.0,
        "federation": FederationSettings(server_learning_rate=0.5),
    }
    return Regime(**{**fields, **changes})


def test_noise_of_one_site_is_its_multiplier_over_its_batch() -> None:
    assert noise_of([1.5], [30.0]) == pytest.approx(0.05)


def test_sites_add_variance_and_batches() -> None:
    assert noise_of([3.0, 4.0], [10.0, 40.0]) == pytest.approx(0.1)


def test_deviations_are_those_of_the_round_and_the_clip_norm() -> None:
    assert regime().noise_deviation(1) == pytest.approx(0.8)
    assert regime().displacement(1) == pytest.approx(0.5 * 0.5 * 0.8)


def test_adam_moves_a_coordinate_by_its_learning_rate() -> None:
    adam = FederationSettings(server_optimizer="adam", server_learning_rate=0.01)
    assert regime(federation=adam).displacement(0) == 0.01


@pytest.mark.parametrize(("steps", "rounds"), [(1, 1), (2, 1), (3, 2), (6, 3), (100, 3)])
def test_a_shorter_regime_has_the_first_rounds(steps: int, rounds: int) -> None:
    short = regime().first(steps)
    assert short.noise == (0.1, 0.2, 0.3)[:rounds]
    assert short.learning_rates == (1.0, 0.5, 0.25)[:rounds]
    assert (short.rounds, short.steps) == (rounds, 2 * rounds)


@pytest.mark.parametrize("noise", [(), (0.1,), (0.1, 0.1, math.nan), (0.1, 0.1, -0.1), (0.1, 0.1, math.inf)])
def test_what_is_no_regime_is_refused(noise: tuple[float, ...]) -> None:
    with pytest.raises(MechanismError, match="regime"):
        regime(noise=noise)
