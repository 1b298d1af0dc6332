# SPDX-License-Identifier: Apache-2.0
"""Requests outside any run: one filter for life, beside the runs, within the policy."""

from contextlib import suppress

import pytest

from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.ledger import Budget, verify
from fedpeft.privacy.policy import FilterTerms
from fedpeft.types import FILTER_RUN, RefusalCode

TERMS = {"epsilon": 2.0, "delta": 2e-6, "noise_multiplier": 6.0, "sampling_rate": 0.5}


@pytest.fixture
def policy(tools):
    return tools.policy(filter=FilterTerms(**TERMS))


def outside(tools, request_id, **changes):
    return tools.request(request_id, run_id=FILTER_RUN, **changes)


def refused(ask):
    with pytest.raises(Refusal) as caught:
        ask()
    return caught.value.code


def test_its_part_is_set_aside_before_any_run(path, tools, policy):
    assert tools.open(path, policy).available() == Budget(6.0, pytest.approx(8e-6))
    report = verify(path)
    assert report.ok
    assert (report.epsilon_committed, report.filter.epsilon_committed) == (2.0, 2.0)


def test_each_request_may_choose_its_noise_until_the_budget_is_gone(path, tools, policy, pay):
    ledger = tools.open(path, policy)
    served = 0
    for number in range(60):
        multiplier = (2.0, 4.0, 8.0)[number % 3]
        with suppress(Refusal):
            pay(ledger, outside(tools, f"r{number}", noise_multiplier=multiplier, sampling_rate=0.3))
            served += 1
    assert 3 < served < 60
    report = verify(path)
    assert report.ok
    assert report.filter.steps_spent == served
    assert 0.8 * report.filter.budget < report.filter.spent <= report.filter.budget
    assert report.filter.second_opinion == pytest.approx(report.filter.spent, rel=1e-6)
    assert refused(lambda: ledger.charge(outside(tools, "last", noise_multiplier=1.0))) is RefusalCode.BUDGET
    ledger.commit(tools.schedule())  # runs have their own part
    pay(ledger, tools.request())


def test_a_run_does_not_reach_into_it(path, tools, policy):
    ledger = tools.open(path, policy)
    whole = tools.schedule(parts=((0.9, 30),))
    assert refused(lambda: ledger.commit(whole)) is RefusalCode.BUDGET
    assert refused(lambda: ledger.commit(tools.schedule(run_id=FILTER_RUN))) is RefusalCode.MALFORMED


def test_a_crash_outside_a_run_is_charged_again(path, tools, policy):
    ledger = tools.open(path, policy)
    assert ledger.charge(outside(tools, "r")) is None
    again = tools.open(path, policy)
    assert again.charge(outside(tools, "r")) is None
    again.close()
    report = verify(path)
    assert report.ok
    assert (report.filter.steps_spent, report.filter.num_unreleased) == (2, 2)


def test_without_a_filter_nothing_is_served_outside_a_run(ledger, tools, path, policy):
    assert refused(lambda: ledger.charge(outside(tools, "r"))) is RefusalCode.POLICY
    begun = path.with_name("begun.sqlite")
    tools.open(begun, policy)
    without = tools.open(begun)
    assert refused(lambda: without.charge(outside(tools, "r"))) is RefusalCode.POLICY
    assert without.available().epsilon == 6.0  # what was set aside stays so


@pytest.mark.parametrize(
    "change", [{"epsilon": 3.0}, {"epsilon": 1.0}, {"delta": 1e-6}, {"noise_multiplier": 0.5}]
)
def test_its_terms_are_fixed_for_life(path, tools, policy, change):
    tools.open(path, policy)
    before = tools.dump(path)
    with pytest.raises(LedgerError, match="fixed for life"):
        tools.open(path, tools.policy(filter=FilterTerms(**(TERMS | change))))
    assert tools.dump(path) == before


def test_one_that_comes_too_late_is_refused(ledger, tools, path):
    ledger.commit(tools.schedule(run_id="second", parts=((1.8, 20),)))
    before = tools.dump(path)
    with pytest.raises(LedgerError, match="are left; lower its part"):
        tools.open(path, tools.policy(filter=FilterTerms(**TERMS)))
    assert tools.dump(path) == before


def test_sub_budgets_count_runs_only(path, tools, policy):
    ledger = tools.open(path, policy.model_copy(update={"sub_budgets": (3.0, 2.0)}))
    assert ledger.available().epsilon == 3.0
    ledger.commit(tools.schedule())
    assert ledger.available().epsilon == 2.0


def test_verification_sees_an_overdrawn_filter(path, tools, policy, pay):
    ledger = tools.open(path, policy)
    pay(ledger, outside(tools, "r"))
    tools.edit(path, "UPDATE events SET event = replace(event, '4.0', '0.2')")
    problems = " ".join(verify(path).problems)
    assert "the filter: was charged divergences" in problems
    assert "says opacus" in problems


class TestCrashReserve:
    def test_new_requests_leave_it_alone_and_repeated_ones_may_use_it(self, path, tools, pay):
        ledger = tools.open(path, tools.policy(crash_reserve=2))
        ledger.commit(tools.schedule(steps=5))
        pay(ledger, tools.request("a"))
        assert ledger.charge(tools.request("b")) is None  # killed
        pay(ledger, tools.request("b"))
        pay(ledger, tools.request("c"))
        assert refused(lambda: ledger.charge(tools.request("d"))) is RefusalCode.BUDGET
        assert len(ledger.spent()) == 4

    def test_a_crash_in_the_last_round_is_paid_for(self, path, tools, pay):
        ledger = tools.open(path, tools.policy(crash_reserve=1))
        ledger.commit(tools.schedule(steps=6))
        pay(ledger, tools.request("a", local_steps=2))
        assert ledger.charge(tools.request("b", local_steps=2)) is None
        pay(ledger, tools.request("b", local_steps=2))
        assert len(ledger.spent()) == 3
        assert verify(path).ok
