# SPDX-License-Identifier: Apache-2.0
"""The noise of DP-Forward is that of the analytic Gaussian mechanism at sensitivity 2 C."""

from __future__ import annotations

import math

import pytest
from scipy.stats import norm

from fedpeft.input_noise import InputNoise


@pytest.mark.parametrize(("epsilon", "multiplier"), [(1.0, 3.731), (2.0, 1.994), (8.0, 0.600)])
def test_the_published_multipliers(epsilon: float, multiplier: float) -> None:
    assert InputNoise(epsilon, 1e-5, 1.0).multiplier == pytest.approx(multiplier, abs=6e-4)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_two_inputs_two_clips_apart_are_as_hard_to_tell_as_is_said(epsilon: float) -> None:
    noise = InputNoise(epsilon, 1e-5, clip_norm=3.0)

    def delta_of(stddev: float) -> float:
        shift = 2 * 3.0 / stddev
        return norm.cdf(-epsilon / shift + shift / 2) - math.exp(epsilon) * norm.cdf(
            -epsilon / shift - shift / 2
        )

    assert delta_of(noise.stddev) <= 1e-5
    assert delta_of(noise.stddev) == pytest.approx(1e-5, rel=1e-4)
    assert delta_of(noise.stddev / 2) > 1e-5  # the control: the published code, which takes C for 2 C
