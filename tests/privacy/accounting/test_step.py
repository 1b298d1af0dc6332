# SPDX-License-Identifier: Apache-2.0
"""One step's loss, all points at once, is the library's, point by point; and never below the truth."""

import math

import numpy as np
import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from scipy.stats import norm

from fedpeft.privacy.accounting import pld
from fedpeft.privacy.accounting.step import distribution, divergences

STEPS = [
    (sigma, rate)
    for sigma in (0.1, 0.5, 1.0, 4.0, 50.0, 1e4)
    for rate in (1e-6, 1e-3, 0.02, 0.5, 0.999999, 1.0)
]


def losses_of(sigma, rate, adding):
    kind = AdjacencyType.ADD if adding else AdjacencyType.REMOVE
    return GaussianPrivacyLoss(sigma, sampling_prob=rate, adjacency_type=kind)


@pytest.mark.parametrize("adding", [False, True])
@pytest.mark.parametrize(("sigma", "rate"), STEPS)
def test_divergences_are_the_library_s(sigma, rate, adding):
    loss = losses_of(sigma, rate, adding)
    bounds = loss.connect_dots_bounds()
    epsilons = np.linspace(bounds.epsilon_lower, bounds.epsilon_upper, 301)
    found = divergences(loss, sigma, rate, epsilons, adding=adding)
    np.testing.assert_allclose(found, loss.get_delta_for_epsilon(epsilons), rtol=0, atol=1e-14)


def test_adding_and_removing_a_unit_differ_where_units_are_sampled():
    """The comparison above can fail: the other direction's divergences are far away."""
    loss, epsilons = losses_of(1.0, 0.5, True), np.linspace(-0.5, 0.5, 11)
    found = divergences(losses_of(1.0, 0.5, False), 1.0, 0.5, epsilons, adding=False)
    assert abs(found - loss.get_delta_for_epsilon(epsilons)).max() > 1e-2


def test_no_half_line_is_worse_than_the_one_that_was_found():
    sigma, rate, epsilons = 1.2, 0.1, np.array([-0.05, 0.0, 0.3, 1.0])
    found = divergences(losses_of(sigma, rate, False), sigma, rate, epsilons, adding=False)
    ends = np.linspace(-12, 12, 40_001)
    below = norm.cdf(ends / sigma)
    with_unit = (1 - rate) * below + rate * norm.cdf((ends + 1) / sigma)
    for epsilon, divergence in zip(epsilons, found, strict=True):
        assert (with_unit - math.exp(epsilon) * below).max() == pytest.approx(divergence, rel=1e-6)


@pytest.mark.parametrize(("sigma", "rate", "grid"), [(1.0, 0.02, 1e-3), (3.0, 1.0, 1e-3), (0.6, 0.2, 1e-3)])
def test_the_distribution_gives_the_library_s_epsilon(sigma, rate, grid):
    ours = distribution(sigma, rate, grid)
    theirs = from_gaussian_mechanism(sigma, value_discretization_interval=grid, sampling_prob=rate)
    for delta in (1e-3, 1e-6, 1e-9):
        assert ours.get_epsilon_for_delta(delta) == pytest.approx(
            theirs.get_epsilon_for_delta(delta), rel=1e-9
        )
    both = ours.self_compose(50), theirs.self_compose(50)
    assert both[0].get_epsilon_for_delta(1e-6) == pytest.approx(both[1].get_epsilon_for_delta(1e-6), rel=1e-7)


def test_a_step_that_was_met_before_is_not_computed_again():
    first = pld.step_distribution(1.7, 0.03, 1e-3)
    for index in range(100):  # as many kinds of steps as a composition may have meanwhile
        pld.step_distribution(2.0 + index / 100, 0.03, 1e-3)
    assert pld.step_distribution(1.7, 0.03, 1e-3) is first
