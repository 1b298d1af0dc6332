# SPDX-License-Identifier: Apache-2.0
"""Every accountant against published figures, exact curves and the other accountants."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from fedpeft.errors import ConfigError, EventError
from fedpeft.privacy.accountant import (
    calibrate,
    epsilon,
    epsilon_pld,
    epsilon_rdp,
    epsilon_second_opinion,
    second_opinion,
)
from fedpeft.privacy.accounting import pld, rdp
from fedpeft.privacy.accounting.groups import merge
from fedpeft.types import PrivacyEvent


def steps(multiplier, rate, number, unit="record"):
    return PrivacyEvent("poisson-gaussian", multiplier, rate, number, unit)


def gaussian(multiplier, number):
    return PrivacyEvent("gaussian", multiplier, 1.0, number, "record")


def exact_gaussian(mean, delta):
    """Balle and Wang 2018, Theorem 8."""

    def surplus(x):
        return norm.cdf(-x / mean + mean / 2) - math.exp(x + norm.logcdf(-x / mean - mean / 2)) - delta

    return brentq(surplus, 0, 1000, xtol=1e-12)


# multiplier, rate, steps at delta 1e-6: PRV's upper bound as published, PLD, RDP
PUBLISHED = [
    (0.8, 0.001, 100, 0.270403, 0.260339, 1.371067),
    (1.5, 0.05, 100, 1.953853, 1.943736, 2.154185),
    (2, 0.2, 100, 5.672056, 5.661788, 6.124960),
    (1.5, 0.05, 1000, 6.209969, 6.199695, 6.667952),
    (1.5, 0.001, 20000, 0.437005, 0.427622, 0.496994),
    (3, 0.05, 20000, 13.961115, 13.950659, 14.815309),
    (3, 0.001, 50000, 0.309694, 0.301900, 0.325328),
]


@pytest.mark.parametrize(("multiplier", "rate", "number", "prv", "pld", "rdp"), PUBLISHED)
def test_published_figures(multiplier, rate, number, prv, pld, rdp):
    events = [steps(multiplier, rate, number)]
    assert epsilon_pld(events, 1e-6) == pytest.approx(pld, abs=2e-5)
    assert epsilon_rdp(events, 1e-6) == pytest.approx(rdp, abs=2e-6)
    assert epsilon_second_opinion(events, 1e-6) == pytest.approx(prv, abs=1e-5)
    assert epsilon_pld(events, 1e-6) <= prv
    assert epsilon(events, 1e-6) == epsilon_pld(events, 1e-6)


def test_opacus_own_figures():
    events = [steps(1.5, 0.04, 2250)]
    assert epsilon_rdp(events, 1e-5) == pytest.approx(7.32911117, rel=1e-4)
    assert epsilon_pld(events, 1e-5) < 6.777396
    assert epsilon_second_opinion(events, 1e-5) == pytest.approx(6.777396, rel=1e-3)


def test_tensorflow_privacys_figure():
    assert epsilon_rdp([steps(1.3, 150 / 60000, 6000)], 1e-5) == pytest.approx(0.7242234, abs=1e-6)


@pytest.mark.parametrize(
    ("multiplier", "number", "delta", "figure"), [(4.0, 50, 1e-5, 8.595866), (10.0, 100, 1e-6, 4.886554)]
)
def test_exact_gaussian_figures(multiplier, number, delta, figure):
    assert exact_gaussian(math.sqrt(number) / multiplier, delta) == pytest.approx(figure, abs=1e-6)
    for events in ([gaussian(multiplier, number)], [steps(multiplier, 1.0, number)]):
        assert epsilon_pld(events, delta) == pytest.approx(figure, abs=2e-6)
        assert epsilon_pld(events, delta) >= figure - 1e-6
        assert epsilon_rdp(events, delta) > figure
        assert epsilon_second_opinion(events, delta) == pytest.approx(figure, abs=0.02)


def test_the_grid_is_refined_where_a_coarse_one_would_exceed_rdp():
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    coarse = from_gaussian_mechanism(50.0, value_discretization_interval=1e-3, sampling_prob=0.01)
    events = [steps(50, 0.01, 10_000)]
    assert coarse.self_compose(10_000).get_epsilon_for_delta(1e-6) > 0.14 > epsilon_rdp(events, 1e-6)
    fine = from_gaussian_mechanism(50.0, value_discretization_interval=1e-5, sampling_prob=0.01)
    truth = fine.self_compose(10_000).get_epsilon_for_delta(1e-6)
    assert truth <= epsilon_pld(events, 1e-6) <= truth * 1.015


def test_one_by_one_equals_all_at_once():
    mixed = [steps(1.5, 0.05, 60), steps(2.0, 0.1, 30), gaussian(30.0, 4)]
    singly = [PrivacyEvent(e.kind, e.noise_multiplier, e.sampling_rate, 1, e.unit) for e in mixed
              for _ in range(e.steps)]  # fmt: skip
    np.random.default_rng(0).shuffle(singly)
    for bound in (epsilon_pld, epsilon_rdp, epsilon_second_opinion, epsilon):
        # Not bitwise: squares of multipliers are added in another order.
        assert bound(singly, 1e-6) == pytest.approx(bound(mixed, 1e-6), rel=1e-9)


def test_heterogeneous_events_lie_between_their_extremes():
    low, high = epsilon([steps(2.0, 0.1, 60)], 1e-6), epsilon([steps(1.0, 0.1, 60)], 1e-6)
    both = epsilon([steps(2.0, 0.1, 30), steps(1.0, 0.1, 30)], 1e-6)
    assert low < both < high
    assert second_opinion([steps(2.0, 0.1, 30), steps(1.0, 0.1, 30)], 1e-6).epsilon == pytest.approx(
        both, abs=0.02
    )


def test_full_batches_compose_as_one_gaussian():
    mean = math.sqrt(3 / 4**2 + 5 / 7**2)
    assert epsilon_pld([gaussian(4.0, 3), gaussian(7.0, 5)], 1e-6) == pytest.approx(
        exact_gaussian(mean, 1e-6), abs=1e-5
    )


def test_integer_and_numpy_multipliers_are_not_dropped():
    wanted = epsilon([steps(2.0, 0.1, 50)], 1e-6)
    assert wanted > 0.5
    assert epsilon([steps(2, 0.1, 50)], 1e-6) == wanted
    assert epsilon([steps(np.float64(2.0), 0.1, 50)], 1e-6) == wanted


@given(
    multiplier=st.floats(0.9, 20),
    rate=st.floats(0.02, 0.5),
    number=st.integers(1, 500),
    delta=st.floats(1e-8, 1e-3),
    more=st.floats(1.05, 2),
)
@settings(max_examples=5, deadline=None, derandomize=True)
def test_less_noise_more_sampling_more_steps_or_less_delta_cost_more(multiplier, rate, number, delta, more):
    cost = epsilon([steps(multiplier, rate, number)], delta)
    slack = 0.01 * cost + 1e-6  # of the grid
    assert cost <= epsilon_rdp([steps(multiplier, rate, number)], delta)
    assert epsilon([steps(multiplier * more, rate, number)], delta) <= cost + slack
    assert epsilon([steps(multiplier, min(rate * more, 1.0), number)], delta) >= cost - slack
    assert epsilon([steps(multiplier, rate, math.ceil(number * more))], delta) >= cost - slack
    assert epsilon([steps(multiplier, rate, number)], delta / more) >= cost - slack
    opinion = second_opinion([steps(multiplier, rate, number)], delta)
    assert opinion.epsilon - opinion.tolerance <= cost


def test_nothing_costs_nothing():
    assert epsilon([], 1e-6) == 0
    assert epsilon_second_opinion([], 1e-6) == 0


def test_a_delta_below_rounding_errors_leaves_only_rdp():
    events = [steps(3.0, 0.01, 100_000)]
    assert epsilon_pld(events, 1e-11) == math.inf
    assert epsilon(events, 1e-11) == epsilon_rdp(events, 1e-11) < 20


def test_rounding_errors_never_lower_the_figure():
    too_low = []
    for multiplier, number, delta in ((3.0, 1000, 3.3e-13), (20.0, 3000, 1.55e-12)):
        nearly_all = [steps(multiplier, 1 - 1e-12, number)]  # composed by the transform, known in closed form
        truth = exact_gaussian(math.sqrt(number) / multiplier, delta)
        groups = merge(nearly_all)
        raw = pld.composed(groups, pld.grid_of(groups)).get_epsilon_for_delta(delta)
        too_low.append(raw < truth - 1e-3)
        assert epsilon_pld(nearly_all, delta) >= truth
    assert any(too_low)  # the control; which of the two is, the processor's rounding decides


@pytest.mark.parametrize("event", [steps(1e6, 1e-9, 100), steps(1e6, 0.9, 1000), steps(300.0, 1e-6, 10)])
def test_losses_below_double_precision_are_counted_as_a_little_more(event):
    assert 0 < epsilon_rdp([event], 1e-9) < 0.02
    assert 0 <= epsilon_pld([event], 1e-9) < 0.02


@pytest.mark.parametrize("event", [steps(0.1, 0.5, 1_000_000), steps(0.1, 1.0, 1_000_000)])
def test_losses_too_large_to_compose_are_infinite_not_a_hang(event):
    assert epsilon_pld([event], 1e-6) == math.inf
    assert epsilon([event], 1e-6) > 1e6


def test_units_do_not_mix():
    with pytest.raises(EventError, match="units"):
        epsilon([steps(1.0, 0.1, 1), steps(1.0, 0.1, 1, unit="patient")], 1e-6)


def test_a_bad_event_is_not_composed():
    with pytest.raises(EventError, match="kind"):
        epsilon([PrivacyEvent("laplace", 1.0, 0.1, 1, "record")], 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-6, math.nan, math.inf])
def test_delta_out_of_range(delta):
    for bound in (epsilon, epsilon_pld, epsilon_rdp, epsilon_second_opinion):
        with pytest.raises(ConfigError, match="delta"):
            bound([steps(1.0, 0.1, 1)], delta)


def test_orders_that_do_not_converge_are_left_out_in_silence(caplog):
    rdp.step_curve.cache_clear()
    epsilon_rdp([steps(2.0, 0.2, 100)], 1e-6)
    assert not caplog.records


@pytest.mark.parametrize(
    ("target", "delta", "rate", "number"),
    [
        (8.0, 1e-5, 0.1, 8),
        (2.0, 1e-6, 0.3, 40),
        (0.5, 1e-5, 0.02, 200),
        (8.0, 1e-5, 1.0, 20),
        (30, 1e-4, 0.2, 50),
    ],
)
def test_calibration_is_tight(target, delta, rate, number):
    multiplier = calibrate(target, delta, rate, number)
    assert multiplier == round(multiplier, 4)
    assert epsilon_pld([steps(multiplier, rate, number)], delta) <= target
    assert epsilon_pld([steps(multiplier - 2e-4, rate, number)], delta) > target


def test_a_generous_epsilon_gets_the_smallest_multiplier():
    assert calibrate(500.0, 1e-5, 0.01, 1) == 0.1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0.0, 1e-5, 0.1, 10), "epsilon = 0"),
        ((math.nan, 1e-5, 0.1, 10), "epsilon = nan"),
        ((1001.0, 1e-5, 0.1, 10), "epsilon = 1001"),
        ((1.0, 0.0, 0.1, 10), "delta = 0"),
        ((1.0, 1e-5, 0.0, 10), "sampling_rate = 0"),
        ((1.0, 1e-5, 1.5, 10), "sampling_rate = 1.5"),
        ((1.0, 1e-5, 0.1, 0), "steps = 0"),
        ((1e-5, 1e-12, 0.1, 1000), "no noise multiplier reaches it"),
    ],
)
def test_calibration_says_what_cannot_be_reached(arguments, named):
    with pytest.raises(ConfigError, match=named) as caught:
        calibrate(*arguments)
    assert len(caught.value.problems) == 1


def test_importing_the_module_imports_no_accountant():
    code = (
        "import sys, fedpeft.privacy.accountant, fedpeft.privacy.ledger; "
        "sys.exit(bool({'dp_accounting', 'opacus', 'torch', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
