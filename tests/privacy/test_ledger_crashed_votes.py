# SPDX-License-Identifier: Apache-2.0
"""A vote or a count that a crash made uncertain is charged again where there is room, or refused."""

from dataclasses import replace

import numpy as np
import pytest

from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.ledger import verify
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.types import RefusalCode

NOISY, PRECISE = 8.0, 6.0


def vote(multiplier: float) -> VoteRequest:
    return VoteRequest("run", "run:vote", multiplier, "words", 1, np.eye(2, dtype=np.float32), "")


def count(multiplier: float) -> EvaluateRequest:
    return EvaluateRequest("run", "run:count", multiplier, "abc", np.zeros(3, dtype=np.float32), "")


def refused(ask) -> RefusalCode:
    with pytest.raises(Refusal) as caught:
        ask()
    return caught.value.code


@pytest.fixture
def make(path, tools):
    """``make(vote, count)`` commits one of each beside five steps; a reserve for crashes is of rounds."""

    def make(of_votes: float, of_counts: float):
        policy = tools.policy(stages=("training", "synthesis", "evaluation"), crash_reserve=2)
        ledger = tools.open(path, policy)
        votes = (("synthesis", of_votes, 1), ("evaluation", of_counts, 1))
        ledger.commit(replace(tools.schedule(steps=5), votes=votes))
        return ledger

    return make


def crash(ledger, request) -> None:
    """Charged, and nothing is known of what came of it."""
    assert ledger.charge(request) is None
    ledger.abandon(request.request_id)


@pytest.mark.parametrize(("of_votes", "of_counts"), [(NOISY, PRECISE), (PRECISE, NOISY), (NOISY, NOISY)])
def test_every_try_is_charged_and_all_of_them_stay_within_what_was_committed(
    make, path, pay, of_votes: float, of_counts: float
) -> None:
    ledger = make(of_votes, of_counts)
    crash(ledger, vote(of_votes))
    # A second try may only take the place of a count that promised no more noise than the vote has.
    if of_votes >= of_counts:
        crash(ledger, vote(of_votes))
        assert refused(lambda: ledger.charge(count(of_counts))) is RefusalCode.BUDGET
    else:
        pay(ledger, count(of_counts))
    assert refused(lambda: ledger.charge(vote(of_votes))) is RefusalCode.BUDGET
    charged = [event for event in ledger.spent() if event.kind == "gaussian"]
    assert len(charged) == 2  # never more than were committed, and none is forgotten
    report = verify(path)
    assert report.ok, report.problems
    assert report.runs[0].epsilon_spent <= report.runs[0].epsilon_committed


def test_a_count_that_crashed_is_not_served_from_the_rounds_or_their_reserve(make, tools, pay) -> None:
    ledger = make(PRECISE, NOISY)
    pay(ledger, vote(PRECISE))
    crash(ledger, count(NOISY))
    assert refused(lambda: ledger.charge(count(NOISY))) is RefusalCode.BUDGET
    for number in (1, 2, 3):  # what is left of the rounds is as it was
        pay(ledger, tools.request(f"run/{number}"))
