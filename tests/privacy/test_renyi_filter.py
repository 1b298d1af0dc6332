# SPDX-License-Identifier: Apache-2.0
"""The filter's divergences against two libraries, its conversion, and that it is never exceeded."""

import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting.rdp import compute_epsilon
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from fedpeft.errors import EventError
from fedpeft.privacy.accountant import epsilon, renyi_second_opinion
from fedpeft.privacy.renyi_filter import ORDERS, RenyiFilter, divergence, to_epsilon
from fedpeft.types import PrivacyEvent


def step(multiplier, rate=0.1, number=1, unit="record"):
    return PrivacyEvent("poisson-gaussian", multiplier, rate, number, unit)


@pytest.mark.parametrize("order", [2, 3, 8, 64, 256])
@pytest.mark.parametrize(
    ("multiplier", "rate"), [(0.5, 0.01), (1.0, 0.1), (4.0, 0.5), (50.0, 0.001), (2.0, 1.0)]
)
def test_the_divergence_is_that_of_opacus_and_never_below(multiplier, rate, order):
    ours, theirs = (
        divergence(step(multiplier, rate, 7), order),
        renyi_second_opinion([step(multiplier, rate, 7)], order),
    )
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-13)


@pytest.mark.parametrize(("multiplier", "rate", "order"), [(1.0, 0.1, 3), (2.0, 0.5, 5), (4.0, 0.02, 16)])
def test_the_divergence_by_quadrature_in_both_directions(multiplier, rate, order):
    def density(x):
        return np.logaddexp(
            math.log1p(-rate) + norm.logpdf(x, 0, multiplier), math.log(rate) + norm.logpdf(x, 1, multiplier)
        )

    def base(x):
        return norm.logpdf(x, 0, multiplier)

    def renyi(p, q):
        reach = 10 * multiplier
        inside = quad(
            lambda x: math.exp(order * p(x) + (1 - order) * q(x)),
            -reach,
            order + reach,
            limit=1000,
            epsabs=0.0,
        )
        return math.log(inside[0]) / (order - 1)

    figure = divergence(step(multiplier, rate), order)
    assert renyi(density, base) == pytest.approx(figure, rel=1e-6)
    assert renyi(base, density) <= figure


@pytest.mark.parametrize("multiplier", [1e6, 1e5])
def test_tiny_losses_keep_their_digits(multiplier):
    # Of second order in the rate: alpha q^2 / (2 sigma^2) to the first digits.
    assert divergence(step(multiplier, 0.01), 8) == pytest.approx(8 * 1e-4 / (2 * multiplier**2), rel=1e-3)


def test_large_losses_do_not_overflow():
    assert math.isfinite(divergence(step(0.1, 0.5, 10**6), 1024))


@pytest.mark.parametrize("delta", [1e-9, 1e-5])
@pytest.mark.parametrize("order", [2, 12, 100])
def test_the_conversion_is_that_of_dp_accounting(order, delta):
    for budget in (0.5, 3.0, 40.0):
        assert to_epsilon(budget, order, delta) == pytest.approx(compute_epsilon([order], [budget], delta)[0])


@pytest.mark.parametrize(("target", "delta"), [(0.5, 1e-6), (2.0, 1e-5), (8.0, 1e-5), (50.0, 1e-3)])
@pytest.mark.parametrize("planned", [step(1.0, 0.05), step(6.0, 1.0), step(20.0, 0.3)])
def test_the_budget_stands_for_what_was_asked_and_its_order_reaches_farthest(target, delta, planned):
    made = RenyiFilter.planned(target, delta, planned)
    assert made.epsilon == pytest.approx(target, rel=1e-9)
    number = int(made.budget / divergence(planned, made.order))
    for order in ORDERS:
        full = math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        assert (target - full) / divergence(planned, order) < number + 1
    if number:
        assert epsilon([replace(planned, steps=number)], delta) <= target


def test_it_covers_up_to_its_budget_and_not_a_step_more():
    planned = step(4.0, 0.2)
    made = RenyiFilter.planned(2.0, 1e-5, planned)
    number = int(made.budget / divergence(planned, made.order))
    assert number > 1
    assert made.covers([replace(planned, steps=number)])
    assert made.covers([planned] * number)
    assert not made.covers([replace(planned, steps=number + 1)])
    assert not made.covers([replace(planned, unit="patient")])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.5, 50), st.floats(0.001, 1.0), st.integers(1, 50)), min_size=1, max_size=20
    )
)
def test_whatever_is_let_through_stays_within_epsilon(asked):
    made = RenyiFilter.planned(3.0, 1e-5, step(2.0))
    served = []
    for multiplier, rate, number in asked:
        if made.covers([*served, step(multiplier, rate, number)]):
            served.append(step(multiplier, rate, number))
    total = math.fsum(renyi_second_opinion([event], made.order) for event in served)
    assert to_epsilon(total, made.order, 1e-5) <= 3.0 * (1 + 1e-6)


def test_a_gaussian_filter_that_stops_when_it_likes_what_it_sees_keeps_its_promise():
    """A micro-mechanism: an adversary picks each noise from what it saw; the exact delta stays below."""
    made = RenyiFilter.planned(1.0, 1e-2, step(2.0, 1.0))
    random = np.random.default_rng(7)
    trials, losses = 20_000, np.zeros(20_000)
    precision = np.zeros(trials)
    for _ in range(12):
        loud = losses > 0.3  # when it goes well, ask for less noise
        sigma = np.where(loud, 1.5, 4.0)
        cost = made.order / (2 * sigma**2)
        allowed = made.order / 2 * precision + cost <= made.budget
        seen = random.normal(1.0, sigma)  # under the neighbour that has the unit
        losses += np.where(allowed, seen / sigma**2 - 1 / (2 * sigma**2), 0)
        precision += np.where(allowed, 1 / sigma**2, 0)
    delta = np.mean(np.clip(-np.expm1(1.0 - losses), 0, None))
    assert 0 < delta < 1e-2


def test_it_is_read_back_as_it_was_written():
    made = RenyiFilter.planned(2.0, 1e-5, step(4.0))
    assert RenyiFilter.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "change",
    [{"order": 1}, {"order": 8.0}, {"order": True}, {"budget": 0.0}, {"budget": math.inf}, {"budget": 1},
     {"delta": 0.0}, {"delta": 1.0}, {"unit": 3}],
)  # fmt: skip
def test_fields_out_of_range_are_refused(change):
    made = replace(RenyiFilter(8, 1.0, 1e-5, "record"), **change)
    with pytest.raises(EventError):
        RenyiFilter.from_json(made.to_json())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"order": 8}', "null"])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(EventError):
        RenyiFilter.from_json(text)


def test_an_epsilon_too_small_for_any_order():
    with pytest.raises(EventError, match="too small"):
        RenyiFilter.planned(1e-6, 1e-9, step(4.0))
