# SPDX-License-Identifier: Apache-2.0
"""A round asks again while it has too few sites, and only then, and never beyond its deadline."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.aggregation.asking import Patience, ask_sites, ask_to_commit
from fedpeft.aggregation.mean import Rule
from fedpeft.aggregation.tally import Ask, Tally
from fedpeft.types import (
    Layout,
    Part,
    PrivacyEvent,
    PrivateUpdate,
    RefusalCode,
    Schedule,
    Segment,
    TrainRequest,
)

LAYOUT = Layout((Segment("a", 0, "m", (4,), 0),))

GONE, AWAY = RefusalCode.UNAVAILABLE, None
"""A site that is reached and cannot serve; one that gives no answer."""


class _World:
    """Sites that answer as told, time after time; waiting is what moves the clock."""

    def __init__(self, **answers: list) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []
        self.deadlines: list[float] = []
        self.now = 100.0

    def train(self, requests, deadline_s):
        self.asked.append(list(requests))
        self.deadlines.append(deadline_s)
        for site, request in requests.items():
            left = self.answers[site]
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer == "release":
                event = PrivacyEvent("poisson-gaussian", 1.1, 0.1, 1, "record")
                yield site, PrivateUpdate(request.request_id, np.ones(4, np.float32), event, "head")
            elif answer is not AWAY:
                yield site, answer

    def hear(self, enough: int, again_s: float = 10.0, deadline_s: float = 60.0) -> Tally:
        asks = {
            site: Ask(self._request(site), "record", 5.0, Part.everything(LAYOUT)) for site in self.answers
        }
        tally = Tally(asks, Rule(4))
        ask_sites(self, tally, self._patience(enough, again_s, deadline_s))  # type: ignore[arg-type]
        return tally

    def commit(self, schedules, deadline_s):
        self.asked.append(list(schedules))
        self.deadlines.append(deadline_s)
        replies = {site: left.pop(0) if len(left) > 1 else left[0] for site, left in self.answers.items()}
        given = {site: code for site, code in replies.items() if site in schedules and code is not AWAY}
        return {site: None if code == "consent" else code for site, code in given.items()}

    def agree(self, enough: int, again_s: float = 10.0) -> dict:
        schedules = {site: Schedule.constant("run", 1.0, 0.1, 1, "record") for site in self.answers}
        return ask_to_commit(self, schedules, self._patience(enough, again_s, 60.0))  # type: ignore[arg-type]

    def _patience(self, enough: int, again_s: float, deadline_s: float) -> Patience:
        return Patience(enough, deadline_s, again_s, self.now, lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _request(self, site: str) -> TrainRequest:
        zeros = np.zeros(4, np.float32)
        return TrainRequest("run", f"run:{site}:1", 1, 1, 0.5, 1.1, 0.1, (1.0,), "flat", "abc", zeros, "head")


@pytest.mark.parametrize("lost", [GONE, AWAY])
def test_a_site_that_comes_back_is_in_the_round(lost) -> None:
    world = _World(a=["release"], b=[lost, lost, "release"])
    tally = world.hear(enough=2)
    assert tally.answered == ["a", "b"]
    assert tally.problems == {}
    assert world.asked == [["a", "b"], ["b"], ["b"]]
    assert world.deadlines == [60.0, 50.0, 40.0]


def test_nobody_waits_for_a_site_that_is_not_needed() -> None:
    world = _World(a=["release"], b=[GONE])
    assert world.hear(enough=1).problems == {"b": "unavailable"}
    assert len(world.asked) == 1


def test_nobody_waits_where_too_few_could_come() -> None:
    world = _World(a=["release"], b=[GONE], c=[RefusalCode.BUDGET])
    assert world.hear(enough=3).problems == {"b": "unavailable", "c": "budget"}
    assert len(world.asked) == 1


def test_the_deadline_ends_it() -> None:
    world = _World(a=["release"], b=[GONE])
    assert world.hear(enough=2).problems == {"b": "unavailable"}
    assert world.now <= 160.0
    assert len(world.asked) == 6


def test_a_simulation_asks_once() -> None:
    world = _World(a=[GONE])
    world.hear(enough=1, again_s=0.0)
    assert world.asked == [["a"]]


@pytest.mark.parametrize("lost", [GONE, AWAY])
def test_a_site_that_comes_back_commits(lost) -> None:
    world = _World(a=["consent"], b=[lost, "consent"], c=[RefusalCode.BUDGET])
    assert world.agree(enough=2) == {"a": None, "b": None, "c": RefusalCode.BUDGET}
    assert world.asked == [["a", "b", "c"], ["b"]]


def test_nobody_waits_for_a_commitment_that_is_not_needed() -> None:
    world = _World(a=["consent"], b=[AWAY])
    assert world.agree(enough=1) == {"a": None}
    assert len(world.asked) == 1


def test_a_simulation_asks_to_commit_once() -> None:
    world = _World(a=["consent"], b=[GONE])
    assert world.agree(enough=2, again_s=0.0) == {"a": None, "b": GONE}
    assert len(world.asked) == 1
