# SPDX-License-Identifier: Apache-2.0
"""The schedules are those of their papers."""

import numpy as np
import pytest

from fedpeft.privacy.schedules.base import find
from fedpeft.settings import PrivacySettings, TrainingSettings
from fedpeft.training.learning_rate import learning_rates

RATES = (1.0, 1.0, 0.5, 0.5, 0.1)


def test_constant():
    assert find("constant").factors(PrivacySettings(), RATES) == (1.0,) * 5


def test_step_decay_falls_after_every_so_many_rounds():
    settings = PrivacySettings(schedule_decay=0.5, schedule_every=2)
    assert find("step-decay").factors(settings, RATES) == (1.0, 1.0, 0.5, 0.5, 0.25)


def test_lr_matched_has_the_least_noise_in_the_weights_for_the_same_charge():
    def noise(factors) -> float:
        """sum lr^2 sigma^2, with the factors scaled so that sum 1 / sigma^2 is 1."""
        squares = np.array(factors) ** 2 * (1 / np.array(factors) ** 2).sum()
        return float((np.array(RATES) ** 2 * squares).sum())

    best = find("lr-matched").factors(PrivacySettings(), RATES)
    assert best == pytest.approx(np.array(RATES) ** -0.5)
    random = np.random.default_rng(0)
    for _ in range(200):
        other = np.array(best) * np.exp(0.1 * random.standard_normal(5))
        assert noise(best) <= noise(other) * (1 + 1e-12)
    assert noise(best) < 0.8 * noise((1.0,) * 5)


def test_learning_rates_fall_after_every_so_many_rounds():
    settings = TrainingSettings(learning_rate=2.0, learning_rate_decay=0.5, learning_rate_every=2)
    assert learning_rates(settings, 5) == (2.0, 2.0, 1.0, 1.0, 0.5)
    assert learning_rates(TrainingSettings(learning_rate=2.0), 3) == (2.0, 2.0, 2.0)
