# SPDX-License-Identifier: Apache-2.0
"""One by one equals all at once, and a further question does not compose everything again."""

import numpy as np
import pytest

from fedpeft.errors import ConfigError, EventError
from fedpeft.privacy.accountant import Composition, epsilon, epsilon_pld, epsilon_rdp
from fedpeft.privacy.accounting import pld
from fedpeft.privacy.accounting.groups import MAX_GROUPS, coarse, merge
from fedpeft.types import PrivacyEvent

DELTA = 1e-6


def step(multiplier, number=1, rate=0.05, unit="record"):
    return PrivacyEvent("poisson-gaussian", float(multiplier), rate, number, unit)


def many(number, seed=0):
    multipliers = np.exp(np.random.default_rng(seed).uniform(np.log(1.0), np.log(4.0), number))
    return [step(multiplier) for multiplier in multipliers]


@pytest.fixture
def few(monkeypatch):
    """So many groups are not rounded; more are."""
    monkeypatch.setattr("fedpeft.privacy.accounting.groups.MAX_GROUPS", 8)
    return 8


@pytest.mark.parametrize("rate", [0.05, 1.0])
def test_one_by_one_equals_all_at_once(rate):
    composition, events = Composition(), []
    assert composition.epsilon(DELTA) == 0
    for multiplier in (2.0, 2.0, 3.0, 2.0, 8.0, 3.0):
        events.append(step(multiplier, 5, rate))
        composition.add(events[-1])
        assert composition.epsilon(DELTA) == pytest.approx(epsilon(events, DELTA), rel=2e-4)


def test_a_further_question_composes_only_what_is_new(monkeypatch):
    composition = Composition(many(10))
    before = composition.epsilon(DELTA)
    monkeypatch.setattr(pld, "composed", lambda *_: pytest.fail("everything was composed again"))
    assert composition.epsilon(DELTA) == before
    assert composition.epsilon(DELTA / 10) > before
    composition.add(step(2.0))
    more = composition.epsilon(DELTA)
    assert more > before
    assert more == pytest.approx(min(epsilon_rdp([*many(10), step(2.0)], DELTA), more), rel=1e-9)


def test_new_kinds_of_steps_join_an_old_composition(few):
    composition, events = Composition(many(few - 2)), many(few - 2)
    composition.epsilon(DELTA)
    for event in many(4, seed=1):  # the third makes too many: all are rounded
        composition.add(event)
        events.append(event)
        assert composition.epsilon(DELTA) == pytest.approx(epsilon(events, DELTA), rel=1e-3)


def test_units_and_deltas_are_checked():
    composition = Composition([step(2.0)])
    with pytest.raises(EventError, match="units"):
        composition.add(step(2.0, unit="patient"))
    with pytest.raises(ConfigError, match="delta"):
        composition.epsilon(1.0)


def test_losses_too_large_leave_the_renyi_bound():
    events = [step(0.1, 100_000, 0.5)]
    assert Composition(events).epsilon(DELTA) == epsilon_rdp(events, DELTA)


class TestCoarse:
    def test_few_groups_stay_as_they_are(self):
        groups = merge(many(MAX_GROUPS))
        assert coarse(groups) == groups

    @pytest.mark.parametrize("number", [MAX_GROUPS + 1, 2000])
    def test_many_are_rounded_to_no_more_noise_and_no_lower_rate(self, number):
        rates = np.random.default_rng(1).uniform(1e-4, 0.9, number) if number > 500 else [0.05] * number
        events = [
            step(event.noise_multiplier, rate=float(rate))
            for event, rate in zip(many(number), rates, strict=True)
        ]
        groups = merge([*events, step(3.0, rate=1.0)])
        rounded = coarse(groups)
        assert len(rounded) <= MAX_GROUPS
        assert sum(steps for _, _, steps in rounded) == number + 1
        assert sum(steps / sigma**2 for sigma, _, steps in rounded) >= sum(
            steps / sigma**2 for sigma, _, steps in groups
        )
        assert sum(rate * steps for _, rate, steps in rounded) >= sum(
            rate * steps for _, rate, steps in groups
        )

    def test_each_multiplier_loses_at_most_one_percent(self):
        groups = merge([step(multiplier) for multiplier in np.linspace(1.0, 1.2, MAX_GROUPS + 1)])
        grid = np.array([sigma for sigma, _, _ in coarse(groups)])
        for sigma, _, _ in groups:
            below = grid[grid <= sigma].max()
            assert sigma / 1.01 - 1e-12 <= below <= sigma

    def test_the_figure_is_an_upper_bound_and_close(self, few, monkeypatch):
        events = [*many(few - 2), step(1.5), step(1.504), step(1.508)]
        rounded = epsilon_pld(events, DELTA)
        monkeypatch.setattr("fedpeft.privacy.accounting.groups.MAX_GROUPS", MAX_GROUPS)
        exact = epsilon_pld(events, DELTA)
        assert exact < rounded < 1.02 * exact


def test_a_coarse_grid_is_refined_until_it_is_no_looser_than_renyi():
    events = [step(50.0, 10_000, 0.01)]
    groups = merge(events)
    once = float(pld.composed(groups, 1e-3).get_epsilon_for_delta(DELTA))
    assert once > epsilon_rdp(events, DELTA)  # 0.149 against 0.080
    refined = epsilon_pld(events, DELTA)
    assert refined < epsilon_rdp(events, DELTA) < once
    finer = float(pld.composed(groups, 1e-5).get_epsilon_for_delta(DELTA))
    assert refined == pytest.approx(finer, rel=0.005)
