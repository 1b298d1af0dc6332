# SPDX-License-Identifier: Apache-2.0
"""Successive halving keeps what is best and spends little on the rest."""

from __future__ import annotations

import pytest

from fedpeft.selection.candidates import Candidate
from fedpeft.selection.halving import halve, num_trials
from fedpeft.selection.trials import Effort, Outcome

RUNGS = (Effort(4, 1, 16), Effort(8, 1, 32))


def candidates(count: int) -> list[Candidate]:
    return [Candidate("single", (block,)) for block in range(count)]


class Attempts:
    """Losses that a set of blocks is known to have."""

    def __init__(self, best: int) -> None:
        self.best = best
        self.tried: list[tuple[int, int]] = []

    def __call__(self, candidate: Candidate, effort: Effort) -> Outcome:
        self.tried.append((candidate.lowest, effort.steps))
        return Outcome((float(abs(candidate.lowest - self.best)),), 1)


@pytest.mark.parametrize("best", [0, 17, 63])
def test_the_best_stays(best: int) -> None:
    attempts = Attempts(best)
    halved = halve(candidates(64), RUNGS, attempts)
    assert halved.finalists[0].layers == (best,)
    assert len(halved.finalists) == 4
    assert len(halved.dropped) == 60


def test_efforts_grow_as_candidates_become_fewer() -> None:
    attempts = Attempts(5)
    halve(candidates(64), RUNGS, attempts)
    assert [steps for _, steps in attempts.tried] == [4] * 64 + [8] * 16
    assert len(attempts.tried) + 4 == num_trials(64, 2)


def test_trials_go_up_the_backbone() -> None:
    attempts = Attempts(5)
    halve(list(reversed(candidates(20))), RUNGS[:1], attempts)
    assert [block for block, _ in attempts.tried] == list(range(20))


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_few_go_straight_to_the_final(count: int) -> None:
    attempts = Attempts(0)
    assert len(halve(candidates(count), RUNGS, attempts).finalists) == count
    assert attempts.tried == []
    assert num_trials(count, 2) == count


def test_one_that_went_astray_does_not_stay() -> None:
    def attempt(candidate: Candidate, effort: Effort) -> Outcome:
        del effort
        return Outcome((float("inf") if candidate.lowest < 6 else 1.0,), 1)

    finalists = halve(candidates(10), RUNGS[:1], attempt).finalists
    assert {candidate.lowest for candidate in finalists} == {6, 7, 8, 9}


def test_between_equals_the_one_that_is_cheaper_to_train_stays() -> None:
    finalists = halve(candidates(8), RUNGS[:1], lambda c, e: Outcome((1.0,), 1)).finalists
    assert [candidate.lowest for candidate in finalists] == [7, 6, 5, 4]
