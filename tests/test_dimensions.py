# SPDX-License-Identifier: Apache-2.0
"""The dimension rule: its published figures, its federated form against drawn noise, its warning."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from fedpeft.dimensions import dimension_rule, signal_over_noise
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import calibrate
from fedpeft.privacy.calibration import gaussian_mean
from fedpeft.testing import tiny_config


@pytest.mark.parametrize(("epsilon", "mu"), [(1, 0.268), (2, 0.502), (4, 0.925), (8, 1.666)])
def test_mu_of_an_epsilon(epsilon: float, mu: float) -> None:
    found = gaussian_mean(epsilon, 1e-5)
    assert found == pytest.approx(mu, abs=6e-4)
    delta = norm.cdf(-epsilon / found + found / 2) - math.exp(epsilon) * norm.cdf(
        -epsilon / found - found / 2
    )
    assert delta == pytest.approx(1e-5, rel=1e-6)


def test_mu_is_one_over_the_multiplier_of_a_single_full_release() -> None:
    assert 1 / calibrate(4.0, 1e-6, 1.0, 1) == pytest.approx(gaussian_mean(4.0, 1e-6), rel=1e-3)


@pytest.mark.parametrize(("epsilon", "units", "carried"), [(8, 10, 277), (8, 100, 27_700), (2, 100, 2_500)])
def test_one_curator_carries_units_times_mu_squared(epsilon: float, units: int, carried: int) -> None:
    rule = dimension_rule(1, [units], [epsilon], 1e-5)
    assert rule.carried == pytest.approx(carried, rel=0.01)
    assert rule.effective_units == pytest.approx(units)


def test_sites_that_each_add_noise_carry_less_than_one_curator() -> None:
    curator = dimension_rule(1, [4000], [8.0], 1e-5)
    sites = dimension_rule(1, [1000, 500, 2400, 100], [8.0] * 4, 1e-5)
    assert sites.effective_units == pytest.approx(4000 / 2)
    assert sites.carried == pytest.approx(curator.carried / 4)


def test_a_site_with_more_noise_carries_less() -> None:
    equal = dimension_rule(1, [1000, 1000], [8.0, 8.0], 1e-5)
    strict = dimension_rule(1, [1000, 1000], [8.0, 1.0], 1e-5)
    assert strict.mu == equal.mu
    mus = [gaussian_mean(e, 1e-5) for e in (8.0, 1.0)]
    assert strict.carried == pytest.approx(2000**2 / sum(mu**-2 for mu in mus))
    assert strict.carried < equal.carried / 5


def test_the_figure_is_what_drawn_noise_shows() -> None:
    batches, sigmas, steps, dimensions = [40.0, 10.0, 150.0], [0.7, 2.0, 1.1], 6, 4_000
    random = np.random.default_rng(1)
    total = np.zeros(dimensions)
    for _ in range(steps):
        noises = [sigma * random.standard_normal(dimensions) for sigma in sigmas]
        total += np.sum(noises, axis=0) / sum(batches)
    shown = steps * 1.0 / np.linalg.norm(total)
    assert signal_over_noise(batches, sigmas, steps, dimensions) == pytest.approx(shown, rel=0.05)


def test_all_units_in_every_step_reach_the_rule_whatever_the_steps() -> None:
    rule = dimension_rule(500, [300, 700], [8.0, 2.0], 1e-5)
    for steps in (1, 9):
        sigmas = [calibrate(epsilon, 1e-5, 1.0, steps) for epsilon in (8.0, 2.0)]
        figure = signal_over_noise([300, 700], sigmas, steps, 500)
        assert figure**2 == pytest.approx(rule.carried / 500, rel=2e-3)


def test_subsampling_stays_below_the_rule() -> None:
    sigma = calibrate(8.0, 1e-5, 0.1, 8)
    rule = dimension_rule(500, [1000], [8.0], 1e-5)
    assert signal_over_noise([100.0], [sigma], 8, 500) ** 2 < rule.carried / 500


def test_few_large_batches_beat_many_small_ones_at_equal_work() -> None:
    figures = []
    for batch, steps in ((256, 60), (1024, 15), (1920, 8), (3072, 5)):  # 15,360 records each
        sigma = calibrate(8.0, 1e-5, batch / 6920, steps)
        figures.append(signal_over_noise([batch], [sigma], steps, 1))
    assert figures == sorted(figures)
    assert figures[-1] > 1.9 * figures[0]


def test_the_plan_warns_above_the_rule_and_only_there(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    plan = make_plan(config)
    bound = (80 / math.sqrt(2) * gaussian_mean(8.0, 1e-5)) ** 2
    assert plan.dimensions.carried == pytest.approx(bound)
    few = ['adapter.modules=["k_proj"]', "adapter.rank=1", "adapter.layers=[-1]"]
    units = ["sites.site0.declared_units=4000", "sites.site1.declared_units=4000"]
    assert not any(
        "trainable dim" in w for w in make_plan(tiny_config(tmp_path, overrides=[*few, *units])).warnings
    )
    many = make_plan(
        tiny_config(tmp_path, overrides=["sites.site0.declared_units=4", "sites.site1.declared_units=4"])
    )
    (line,) = [w for w in many.warnings if "trainable dim" in w]
    for part in (
        f"{many.layout.size:,}",
        f"{many.dimensions.carried:,.0f}",
        "adapter.rank",
        "adapter.layers",
    ):
        assert part in line
    assert many.to_json()["dimensions"]["share"] > 1
