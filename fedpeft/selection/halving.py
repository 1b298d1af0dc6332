# SPDX-License-Identifier: Apache-2.0
"""Successive halving: many candidates on little effort, the better ones on more.

Jamieson and Talwalkar (2016), "Non-stochastic best arm identification and hyperparameter optimization",
https://arxiv.org/abs/1502.07943; here a quarter of the candidates stays at each rung.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fedpeft.selection.base import Scored
from fedpeft.selection.candidates import Candidate
from fedpeft.selection.trials import Effort, Outcome

KEPT: Final = 4
"""One in so many candidates goes on from a rung to the next."""

FEWEST_FINALISTS: Final = 4

Try = Callable[[Candidate, Effort], Outcome]


@dataclass(frozen=True, slots=True)
class Halved:
    """What is left of many candidates.

    Attributes:
        finalists: best first, with the outcome of the last rung before the final.
        dropped: with the outcome that they were dropped for, last dropped first.
    """

    finalists: tuple[Candidate, ...]
    dropped: tuple[Scored, ...]


def num_trials(num_candidates: int, num_rungs: int) -> int:
    """Trials of all rungs and of a final of those that are left."""
    total, staying = 0, num_candidates
    for _ in range(num_rungs):
        if staying <= FEWEST_FINALISTS:
            break
        total += staying
        staying = _kept(staying)
    return total + staying


def _kept(count: int) -> int:
    return max(FEWEST_FINALISTS, math.ceil(count / KEPT))


def halve(candidates: Sequence[Candidate], rungs: Sequence[Effort], attempt: Try) -> Halved:
    """Try all candidates with the first effort, the better ones with the next, and so on.

    Ties go to the candidate whose lowest block is higher, which is cheaper to train.

    Args:
        candidates: at least one.
        rungs: efforts of the rungs before the final, cheapest first.
        attempt: trains and scores one candidate.
    """
    staying, dropped = list(candidates), list[Scored]()
    for effort in rungs:
        if len(staying) <= FEWEST_FINALISTS:
            break
        ordered = sorted(
            staying, key=lambda c: (c.lowest, c.layers)
        )  # what is kept of a block serves all its
        scored = sorted((Scored(c, attempt(c, effort), effort.steps) for c in ordered), key=rank)
        keep = _kept(len(scored))
        staying = [found.candidate for found in scored[:keep]]
        dropped = [*scored[keep:], *dropped]
    return Halved(tuple(staying), tuple(dropped))


def rank(found: Scored) -> tuple[float, int, int, tuple[int, ...]]:
    """Sorts the better first; between equals, the one that is cheaper to train."""
    layers = found.candidate.layers
    return (found.outcome.score, -found.candidate.lowest, len(layers), layers)
