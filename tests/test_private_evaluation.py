# SPDX-License-Identifier: Apache-2.0
"""Private evaluation from the coordinator's side: what is asked of whom, and what is made of the counts."""

from dataclasses import replace

import numpy as np
import pytest

from fedpeft.checkpoint import Checkpoint
from fedpeft.federation import Outcome
from fedpeft.privacy.metric import PrivateMetric
from fedpeft.private_evaluation import Lenient, evaluate_privately, summarize
from fedpeft.types import PrivacyEvent, RefusalCode, Schedule

SCHEDULE = Schedule("run", ((1.5, 4),), 0.1, "record", votes=(("evaluation", 3.0, 2),))
STATE = np.zeros(4, np.float32)
STEP = PrivacyEvent("poisson-gaussian", 1.5, 0.1, 1, "record")


def metric(correct, declared=100.0, multiplier=3.0, request_id="id", rate=1.0, unit="record"):
    event = PrivacyEvent("gaussian", multiplier, rate, 1, unit)
    return PrivateMetric(request_id, correct, declared, event, "head")


class Sites:
    """A transport that answers as it is told."""

    def __init__(self, answers=None, forbids=()):
        self.answers = answers or {}
        self.forbids = forbids
        self.asked = []
        self.committed = {}

    def describe(self, num_sites, deadline_s):
        raise AssertionError("not asked")

    train = describe

    def commit(self, schedules, deadline_s):
        replies = {}
        for site, schedule in schedules.items():
            known = self.committed.get(site)
            if known is not None and known != schedule:
                replies[site] = RefusalCode.REPLAY
            elif site in self.forbids and schedule.votes:
                replies[site] = RefusalCode.POLICY
            else:
                self.committed[site] = schedule
                replies[site] = None
        return replies

    def evaluate(self, requests, deadline_s):
        for site, request in requests.items():
            self.asked.append((site, request))
            answer = self.answers.get(site)
            if isinstance(answer, PrivateMetric):
                answer = replace(answer, request_id=request.request_id)
            if answer is not None:
                yield site, answer


def outcome(schedules, left_out=None):
    state = replace(
        Checkpoint.fresh("run", STATE, {}), schedules=schedules, ledger_heads=dict.fromkeys(schedules, "head")
    )
    return Outcome(state, "completed", "", dict.fromkeys(schedules, (STEP,)), left_out or {})


def ask(sites, schedules, left_out=None, states=None):
    return evaluate_privately(sites, outcome(schedules, left_out), states or {"after": STATE}, "digest", 1.0)


def test_counts_of_all_sites_are_put_together_and_paid_for():
    sites = Sites({"a": metric(60.0), "b": metric(30.0, 50.0)})
    found, after = ask(sites, {"a": SCHEDULE, "b": SCHEDULE})
    accuracy = found["after"]["ranking_accuracy"]
    assert accuracy["value"] == pytest.approx(0.6)
    assert accuracy["low"] < 0.6 < accuracy["high"]
    assert found["after"]["by_site"]["a"]["value"] == pytest.approx(0.6)
    assert found["after"]["without"] == {}
    for site in "ab":
        assert after.events[site] == (STEP, PrivacyEvent("gaussian", 3.0, 1.0, 1, "record"))


def test_each_state_has_a_request_of_its_own():
    sites = Sites({"a": metric(1.0)})
    found, after = ask(sites, {"a": SCHEDULE}, states={"before": STATE, "after": STATE + 1})
    assert list(found) == ["before", "after"]
    (_, before), (_, later) = sites.asked
    assert before.request_id != later.request_id
    assert (before.run_id, before.noise_multiplier, before.ledger_head) == ("run", 3.0, "head")
    assert (later.adapter == 1).all()
    assert len(after.events["a"]) == 3


def test_only_sites_that_committed_to_it_are_asked():
    schedules = {"a": SCHEDULE, "gone": SCHEDULE, "never": replace(SCHEDULE, votes=())}
    sites = Sites({"a": metric(1.0)})
    ask(sites, schedules, left_out={"gone": "no answer"})
    assert [site for site, _ in sites.asked] == ["a"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (RefusalCode.POLICY, "policy"), (RefusalCode.BUDGET, "budget"), (None, "no answer"),
        (metric(float("nan")), "not finite"), (metric(1.0, 0.0), "not finite"),
        (metric(1.0, multiplier=0.5), "another event than asked"),
        (metric(1.0, rate=0.5), "another event than asked"),
        (metric(1.0, unit="owner"), "another event than asked"),
    ],
)  # fmt: skip
def test_a_site_without_a_usable_count_is_named_and_left_out(answer, reason):
    found, _ = ask(Sites({"a": answer, "b": metric(50.0)}), {"a": SCHEDULE, "b": SCHEDULE})
    assert found["after"]["without"] == {"a": reason}
    assert set(found["after"]["by_site"]) == {"b"}
    assert found["after"]["ranking_accuracy"]["value"] == pytest.approx(0.5)


def test_nobody_answering_is_no_figure():
    found, after = ask(Sites(), {"a": SCHEDULE})
    assert found["after"]["ranking_accuracy"] == dict.fromkeys(("value", "low", "high", "noise_stddev"))
    assert after.events == {"a": (STEP,)}


class TestIntervals:
    def test_more_noise_is_a_wider_interval(self):
        quiet, loud = (summarize({"a": metric(50.0, multiplier=m)})["ranking_accuracy"] for m in (0.1, 20.0))
        assert quiet["high"] - quiet["low"] == pytest.approx(2 * 1.96 * 0.05, rel=0.02)
        assert loud["high"] - loud["low"] == pytest.approx(2 * 1.96 * (0.05**2 + 0.2**2) ** 0.5, rel=0.02)
        assert loud["noise_stddev"] == pytest.approx(0.2)

    @pytest.mark.parametrize("correct", [-30.0, 0.0, 100.0, 140.0])
    def test_values_stay_in_range_and_never_without_spread(self, correct):
        found = summarize({"a": metric(correct, multiplier=0.1)})["ranking_accuracy"]
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert found["high"] - found["low"] > 0.01

    @pytest.mark.parametrize("rate", [0.3, 0.9])
    def test_they_cover_the_truth_about_as_often_as_they_say(self, rate):
        random, declared, covered = np.random.default_rng(0), 200.0, 0
        for _ in range(2000):
            count = random.binomial(200, rate) + 8.0 * random.standard_normal()
            found = summarize({"a": metric(count, declared, 8.0)})["ranking_accuracy"]
            covered += found["low"] <= rate <= found["high"]
        assert 0.93 < covered / 2000 < 0.985


class TestLenient:
    def test_a_site_that_forbids_evaluation_takes_part_without_it(self):
        sites = Sites(forbids="b")
        replies = Lenient(sites).commit({"a": SCHEDULE, "b": SCHEDULE}, 1.0)
        assert replies == {"a": None, "b": None}
        assert sites.committed["a"] == SCHEDULE
        assert sites.committed["b"] == replace(SCHEDULE, votes=())

    def test_a_run_that_goes_on_commits_the_same_again(self):
        sites = Sites(forbids="b")
        for _ in range(2):
            assert Lenient(sites).commit({"a": SCHEDULE, "b": SCHEDULE}, 1.0) == {"a": None, "b": None}

    def test_other_refusals_and_other_releases_stay(self):
        votes = (("synthesis", 2.0, 1), ("evaluation", 3.0, 2))
        sites = Sites(forbids="b")
        replies = Lenient(sites).commit({"b": replace(SCHEDULE, votes=votes)}, 1.0)
        assert replies == {"b": RefusalCode.POLICY}
        assert Lenient(Sites(forbids="b")).commit({"b": replace(SCHEDULE, votes=())}, 1.0) == {"b": None}


class TestAskingAgain:
    """A site that paid for a count and was away for a moment still gives it."""

    def ask(self, comes_back_after: int, ask_again_s: float) -> tuple[dict, list[str], list[float]]:
        sites, slept = Sites({"a": metric(60.0), "b": RefusalCode.UNAVAILABLE}), []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == comes_back_after:
                sites.answers["b"] = metric(30.0, 50.0)

        begun = outcome({"a": SCHEDULE, "b": SCHEDULE})
        found, _ = evaluate_privately(sites, begun, {"after": STATE}, "digest", 600.0, ask_again_s, sleep)
        return found["after"], [site for site, _ in sites.asked], slept

    def test_it_is_asked_the_same_until_it_is_back(self):
        found, asked, slept = self.ask(comes_back_after=2, ask_again_s=10.0)
        assert found["without"] == {}
        assert asked == ["a", "b", "b", "b"]
        assert slept == [10.0, 10.0]

    def test_one_that_stays_away_is_named_at_last(self):
        found, asked, _ = self.ask(comes_back_after=99, ask_again_s=10.0)
        assert found["without"] == {"b": "unavailable"}
        assert 2 < asked.count("b") < 10

    def test_in_a_simulation_nobody_comes_back(self):
        assert self.ask(comes_back_after=1, ask_again_s=0.0)[1] == ["a", "b"]
