# SPDX-License-Identifier: Apache-2.0
"""A commitment of several multipliers pays for exactly the steps it promised, in any order."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpeft.errors import EventError, Refusal
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.ledger import verify
from fedpeft.privacy.ledger.promise import MAX_PARTS, Promise
from fedpeft.types import PrivacyEvent, RefusalCode, Schedule

PARTS = ((4.0, 2), (8.0, 3))


def event(multiplier, steps=1):
    return PrivacyEvent("poisson-gaussian", multiplier, 0.5, steps, "record")


def promise(parts=PARTS):
    return Promise.of(Schedule("run", parts, 0.5, "record"))


def refused(ask):
    with pytest.raises(Refusal) as caught:
        ask()
    return caught.value.code


def test_a_schedule_knows_the_multiplier_of_each_step():
    schedule = Schedule("run", PARTS, 0.5, "record")
    assert [schedule.noise_multiplier_at(step) for step in range(5)] == [4.0, 4.0, 8.0, 8.0, 8.0]
    assert schedule.steps == 5
    with pytest.raises(IndexError):
        schedule.noise_multiplier_at(5)
    assert Schedule.constant("run", 4.0, 0.5, 5, "record").parts == ((4.0, 5),)


def test_it_is_read_back_as_it_was_written():
    made = promise(((4.0 + 1e-15, 2), (8.0, 3), (4.0, 1)))
    assert Promise.from_json(made.to_json()) == made


@pytest.mark.parametrize("text", ["", "{}", "[]", "[1]", "null", '["a"]', "[" * 100_000, event, "[{}, {}]"])
def test_what_is_no_promise_is_refused(text):
    with pytest.raises(EventError):
        Promise.from_json(text if isinstance(text, str) else promise().to_json()[1:-1])


def test_parts_must_be_of_one_kind():
    other = replace(event(4.0), sampling_rate=0.25)
    texts = ", ".join(Promise((one,)).to_json()[1:-1] for one in (event(4.0), other))
    with pytest.raises(EventError, match="agree"):
        Promise.from_json(f"[{texts}]")


@pytest.mark.parametrize("parts", [(), ((4.0, 1),) * (MAX_PARTS + 1), ((4.0, 1), (0.0, 1)), ((4.0, 0),)])
def test_a_schedule_without_sense_is_malformed(ledger, tools, path, parts):
    before = tools.dump(path)
    wrong = tools.schedule(run_id="second", parts=parts)
    assert refused(lambda: ledger.commit(wrong)) is RefusalCode.MALFORMED
    assert tools.dump(path) == before


def assignable(charged, committed):
    """By trial of all: each charge has a committed step of its own with at most its noise."""
    return any(
        all(paid <= asked for asked, paid in zip(charged, order, strict=False))
        for order in itertools.permutations(committed, len(charged))
    )


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=1, max_size=5),
    st.lists(st.sampled_from([1.0, 2.0, 4.0]), max_size=5),
)
def test_charges_are_covered_exactly_if_each_has_a_step_of_its_own(committed, charged):
    made = promise(tuple((multiplier, 1) for multiplier in committed))
    events = [event(multiplier) for multiplier in charged]
    expected = len(charged) <= len(committed) and assignable(charged, committed)
    assert (made.steps_left(events, 0.0) >= 0) == expected
    assert made.covers(events) == (expected and set(charged) <= set(committed))
    for one in set(committed):
        left = made.steps_left(events, one)
        if expected:
            assert made.steps_left([*events, *[event(one)] * left], 0.0) >= 0
            assert made.steps_left([*events, *[event(one)] * (left + 1)], 0.0) < 0


def test_the_commitment_costs_what_all_parts_cost_together(path, tools):
    ledger = tools.open(path)
    taken = ledger.commit(tools.schedule(parts=PARTS))
    both = [event(4.0, 2), event(8.0, 3)]
    assert epsilon(both, taken.delta) <= taken.epsilon
    assert epsilon([event(4.0, 2)], taken.delta) < taken.epsilon * 0.99
    assert epsilon([event(8.0, 5)], taken.delta) < taken.epsilon * 0.9


def test_each_request_is_held_to_the_committed_parts(path, tools, pay):
    ledger = tools.open(path)
    ledger.commit(tools.schedule(parts=PARTS))
    pay(ledger, tools.request("a", noise_multiplier=8.0, local_steps=3))
    assert refused(lambda: ledger.charge(tools.request("b", noise_multiplier=6.0))) is RefusalCode.POLICY
    pay(ledger, tools.request("b", noise_multiplier=4.0))
    three = tools.request("c", noise_multiplier=4.0, local_steps=2)
    assert refused(lambda: ledger.charge(three)) is RefusalCode.BUDGET
    # A step of little noise pays for one of much; never the other way round.
    pay(ledger, tools.request("d", noise_multiplier=8.0))
    assert refused(lambda: ledger.charge(tools.request("e", noise_multiplier=4.0))) is RefusalCode.BUDGET
    assert refused(lambda: ledger.charge(tools.request("e", noise_multiplier=8.0))) is RefusalCode.BUDGET
    report = verify(path)
    assert report.ok
    assert report.runs[0].parts == PARTS
    assert (report.runs[0].steps_spent, report.runs[0].steps_committed) == (5, 5)


def test_another_division_of_the_same_steps_is_another_schedule(path, tools):
    ledger = tools.open(path)
    ledger.commit(tools.schedule(parts=PARTS))
    for parts in (((8.0, 3), (4.0, 2)), ((4.0, 3), (8.0, 2)), ((4.0, 5),)):
        assert refused(lambda parts=parts: ledger.commit(tools.schedule(parts=parts))) is RefusalCode.REPLAY


def test_verification_sees_steps_of_too_little_noise(path, tools, pay):
    ledger = tools.open(path)
    ledger.commit(tools.schedule(parts=PARTS))
    for number in range(3):
        pay(ledger, tools.request(f"r{number}", noise_multiplier=8.0))
    tools.edit(path, "UPDATE events SET event = replace(event, '8.0', '4.0')")
    assert any("little noise" in problem for problem in verify(path).problems)


class TestStages:
    def test_a_stage_that_the_policy_does_not_list_is_refused(self, ledger, tools):
        asked = tools.schedule(run_id="second", stage="selection")
        assert refused(lambda: ledger.commit(asked)) is RefusalCode.POLICY

    def test_a_stage_that_it_lists_is_committed_and_kept_apart(self, path, tools):
        policy = tools.policy(stages=("training", "selection"))
        ledger = tools.open(path, policy)
        ledger.commit(tools.schedule(stage="selection"))
        assert refused(lambda: ledger.commit(tools.schedule())) is RefusalCode.REPLAY
        assert refused(lambda: ledger.charge(tools.request())) is RefusalCode.POLICY
        assert verify(path).runs[0].stage == "selection"

    def test_a_stage_that_was_taken_away_since(self, path, tools):
        tools.open(path).commit(tools.schedule())
        later = tools.open(path, tools.policy(stages=()))
        assert refused(lambda: later.charge(tools.request())) is RefusalCode.POLICY


def vote(multiplier, steps=1):
    return PrivacyEvent("gaussian", multiplier, 1.0, steps, "record")


class TestVotes:
    """Votes and steps are paid for from one commitment, each from its own part of it."""

    VOTES = (("synthesis", 5.0, 2), ("selection", 9.0, 1))

    def schedule(self):
        return Schedule("run", PARTS, 0.5, "record", votes=self.VOTES)

    def test_stages_come_in_order(self):
        assert self.schedule().stages == ("synthesis", "selection", "training")
        assert Schedule("run", PARTS, 0.5, "record").stages == ("training",)

    def test_it_is_read_back_as_it_was_written(self):
        made = Promise.of(self.schedule())
        assert Promise.from_json(made.to_json()) == made
        assert made.steps == 8

    def test_neither_kind_pays_for_the_other(self):
        made = Promise.of(self.schedule())
        assert made.covers([vote(5.0, 2), vote(9.0), event(4.0, 2), event(8.0, 3)])
        assert not made.covers([vote(5.0, 3)])
        assert not made.covers([vote(5.0, 2), vote(9.0, 2)])
        assert not made.covers([vote(5.0, 2), event(4.0, 3)])
        assert made.covers([vote(9.0, 3)])  # more noise than was committed is paid for
        assert not made.covers([vote(4.0)])
        assert made.is_overdrawn([vote(5.0, 3)])
        assert not made.is_overdrawn([vote(5.0, 2), event(8.0, 5)])

    def test_parts_of_a_kind_must_agree_in_rate(self):
        parts = [vote(5.0), event(4.0), replace(event(4.0), sampling_rate=0.25)]
        texts = ", ".join(Promise((one,)).to_json()[1:-1] for one in parts)
        with pytest.raises(EventError, match="agree"):
            Promise.from_json(f"[{texts}]")

    def test_the_commitment_takes_what_all_cost_together(self, path, tools):
        ledger = tools.open(path, tools.policy(stages=("synthesis", "selection", "training")))
        part = ledger.commit(self.schedule())
        together = epsilon([vote(5.0, 2), vote(9.0), event(4.0, 2), event(8.0, 3)], part.delta)
        assert together <= part.epsilon < 1.1 * together
        assert verify(path).ok
        ledger.close()

    def test_every_stage_must_be_allowed(self, path, tools):
        ledger = tools.open(path, tools.policy(stages=("synthesis", "training")))
        assert refused(lambda: ledger.commit(self.schedule())) is RefusalCode.POLICY
        joined = replace(self.schedule(), votes=(), stage="selection+training")
        assert refused(lambda: ledger.commit(joined)) is RefusalCode.POLICY
        ledger.close()

    def test_another_split_of_the_same_run_is_refused(self, path, tools):
        ledger = tools.open(path, tools.policy(stages=("synthesis", "selection", "training")))
        ledger.commit(self.schedule())
        without = replace(self.schedule(), votes=())
        assert refused(lambda: ledger.commit(without)) is RefusalCode.REPLAY
        ledger.close()
