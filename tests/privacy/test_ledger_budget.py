# SPDX-License-Identifier: Apache-2.0
"""Runs add up in epsilon and in delta, and never to more than the policy."""

import math
import threading
from dataclasses import replace

import pytest

from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.accountant import calibrate, epsilon, epsilon_pld
from fedpeft.privacy.ledger import Budget
from fedpeft.privacy.ledger.budget import smallest_share, what_is_left
from fedpeft.types import PrivacyEvent, RefusalCode

STEPS, RATE = 10, 0.5


def event(multiplier, steps=STEPS):
    return PrivacyEvent("poisson-gaussian", multiplier, RATE, steps, "record")


def schedule_for(tools, run_id, target, delta):
    multiplier = calibrate(target, delta, RATE, STEPS)
    return tools.schedule(run_id=run_id, noise_multiplier=multiplier, sampling_rate=RATE, steps=STEPS)


def refused(ledger, schedule):
    with pytest.raises(Refusal) as caught:
        ledger.commit(schedule)
    return caught.value.code is RefusalCode.BUDGET


def test_a_run_calibrated_to_the_whole_budget_takes_it(tools, path):
    ledger = tools.open(path)
    assert ledger.available() == Budget(8.0, 1e-5)
    taken = ledger.commit(schedule_for(tools, "run", 8.0, 1e-5))
    assert 7.99 < taken.epsilon <= 8.0
    assert 0.99e-5 < taken.delta <= 1e-5
    assert refused(ledger, tools.schedule(run_id="second", noise_multiplier=50.0))


def test_a_run_just_above_the_budget_is_refused(tools, path):
    ledger = tools.open(path)
    schedule = schedule_for(tools, "run", 8.0, 1e-5)
    louder = tools.schedule(
        run_id="run",
        noise_multiplier=schedule.parts[0][0] - 2e-4,
        sampling_rate=RATE,
        steps=STEPS,
    )
    assert refused(ledger, louder)
    ledger.commit(schedule)


def test_two_runs_at_half_epsilon_and_the_whole_delta_each_do_not_fit(tools, path):
    ledger = tools.open(path)
    taken = ledger.commit(schedule_for(tools, "run", 4.0, 1e-5))
    assert 4.0 < taken.epsilon < 4.5
    assert taken.delta == pytest.approx(1e-5 * taken.epsilon / 8.0)
    assert refused(ledger, schedule_for(tools, "second", 4.0, 1e-5))


def test_what_is_left_is_what_to_calibrate_for(tools, path):
    ledger = tools.open(path)
    parts = [ledger.commit(schedule_for(tools, "run", 3.0, 1e-5))]
    left = ledger.available()
    assert left.epsilon == pytest.approx(8.0 - parts[0].epsilon)
    assert left.delta == pytest.approx(1e-5 - parts[0].delta)
    parts.append(ledger.commit(schedule_for(tools, "second", left.epsilon, left.delta)))
    assert math.fsum(part.epsilon for part in parts) <= 8.0 * (1 + 1e-12)
    assert math.fsum(part.delta for part in parts) <= 1e-5 * (1 + 1e-12)
    assert refused(ledger, tools.schedule(run_id="third", noise_multiplier=100.0))


def test_a_share_covers_and_a_smaller_one_does_not():
    left = Budget(8.0, 1e-5)
    share = smallest_share([event(3.0)], left)
    assert share is not None
    assert epsilon([event(3.0)], share.delta) <= share.epsilon
    assert share.epsilon / left.epsilon == pytest.approx(share.delta / left.delta)
    less = share.epsilon / left.epsilon - 1 / 4096
    assert epsilon([event(3.0)], less * left.delta) > less * left.epsilon


def test_no_share_of_too_little():
    assert smallest_share([event(3.0)], Budget(0.0, 0.0)) is None
    assert smallest_share([event(3.0)], Budget(0.0, 1e-5)) is None
    assert smallest_share([event(3.0)], Budget(8.0, 0.0)) is None
    assert smallest_share([event(3.0)], Budget(epsilon_pld([event(3.0)], 1e-5) * 0.99, 1e-5)) is None


def test_sub_budgets_cap_runs_in_order(tools, path):
    ledger = tools.open(path, tools.policy(sub_budgets=(2.0, 5.0)))
    assert ledger.available() == Budget(2.0, pytest.approx(0.25e-5))
    assert refused(ledger, schedule_for(tools, "run", 2.1, 0.25e-5))
    ledger.commit(schedule_for(tools, "run", 2.0, 0.25e-5))
    assert ledger.available() == Budget(5.0, pytest.approx(0.625e-5))
    ledger.commit(schedule_for(tools, "second", 5.0, 0.625e-5))
    assert ledger.available() == Budget(0.0, 0.0)
    assert refused(ledger, tools.schedule(run_id="third", noise_multiplier=100.0))


def test_sub_budgets_never_allow_more_than_is_left(tools):
    policy = tools.policy(sub_budgets=(2.0, 6.0))
    assert what_is_left(policy, [Budget(4.0, 0.5e-5)], 1) == Budget(4.0, 0.5e-5)


def test_two_runs_that_come_together_share_one_budget(tools, path):
    ledger, whole = tools.open(path), schedule_for(tools, "run", 8.0, 1e-5)
    together, answers = threading.Barrier(2), []

    def ask(run_id):
        together.wait()
        try:
            answers.append(ledger.commit(replace(whole, run_id=run_id)) is not None)
        except Refusal as refusal:
            answers.append(refusal.code)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("run", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers, key=str) == [True, RefusalCode.BUDGET]


def test_a_lowered_epsilon_binds_at_once_and_a_raised_one_is_refused(tools, path):
    tools.open(path).commit(schedule_for(tools, "run", 3.0, 1e-5))
    taken = 8.0 - tools.open(path).available().epsilon
    lowered = tools.open(path, tools.policy(epsilon=4.0))
    assert lowered.available().epsilon == pytest.approx(4.0 - taken)
    assert tools.open(path, tools.policy(epsilon=1.0)).available().epsilon == 0.0
    with pytest.raises(LedgerError, match=r"epsilon = 8.*cannot be raised to 8\.1"):
        tools.open(path, tools.policy(epsilon=8.1))
