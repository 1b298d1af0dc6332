# SPDX-License-Identifier: Apache-2.0
"""DP-SelFT: sets of blocks ranked by training them for a while under the noise that the run will have.

Sha, Wang, Wu, Chen and Dong (2026), "DP-SelFT", https://arxiv.org/abs/2605.17432: candidate subsets of
layers are trained temporarily on synthetic rows with the downstream noise and perturbations of its size, and
ranked on a synthetic validation split. Noise grows with the dimensions that are trained, so the size of the
set follows by itself.

What is chosen must beat its controls, all blocks and a random set of its own size, by more than one standard
error of the paired difference over seeds; otherwise all blocks are trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar, Final, final

from fedpeft.errors import DataError
from fedpeft.selection.base import Inputs, Scored, Selection, Selector, check_size
from fedpeft.selection.candidates import ALL, RANDOM_CONTROL, Candidate, make_candidates, random_control
from fedpeft.selection.halving import halve, num_trials, rank
from fedpeft.selection.trials import Effort, Outcome, Trials, standard_error

_RUNGS: Final = ((4, 16), (2, 32))
"""Of the first rung and the second: the divisor of the final's steps, and validation rows."""

_ROWS: Final = 64
"""Validation rows of the final."""

_CONTROLS: Final = 2
_ROUNDING: Final = 1e-5  # relative; what is less than this is no difference


@final
class Rule(Selector):
    """Successive halving over candidate sets, controls in the final."""

    needs_rows: ClassVar[bool] = True

    def choose(self, inputs: Inputs) -> Selection:
        """The best set, or all blocks.

        Raises:
            ConfigError: ``size`` is more than there are blocks.
            DataError: there are no rows.
        """
        trials, settings = inputs.trials, inputs.settings
        if trials is None:
            raise DataError('selection.data: missing, and selection.selector = "selft" trains on it; give it')
        size = None if settings.size == "auto" else settings.size
        if size is not None:
            check_size(size, len(inputs.blocks))
        scores = trials.block_scores()
        candidates = make_candidates(inputs.blocks, scores, settings.candidates, settings.seed, size)
        attempt = _Counting(inputs, trials, num_trials(len(candidates), len(_RUNGS)) + _CONTROLS)
        rungs = [Effort(max(1, settings.steps // share), 1, rows) for share, rows in _RUNGS]
        halved = halve(candidates, rungs, attempt)
        finalists = with_controls(halved.finalists, candidates[0], inputs)
        effort = Effort(settings.steps, settings.seeds, _ROWS)
        scored = sorted(
            (Scored(c, attempt(c, effort), effort.steps) for c in sorted(finalists, key=lambda c: c.lowest)),
            key=rank,
        )
        layers, why = decide(scored)
        return Selection(layers, why, (*scored, *halved.dropped))


def with_controls(
    finalists: Sequence[Candidate], everything: Candidate, inputs: Inputs
) -> tuple[Candidate, ...]:
    """``finalists`` with all blocks, and a random set of the size of the best that is not all."""
    chosen = [c for c in finalists if c.layers != everything.layers]
    sets = [everything, *chosen]
    if chosen:
        control = random_control(
            inputs.blocks, len(chosen[0].layers), inputs.settings.seed, (c.layers for c in sets)
        )
        sets += [] if control is None else [control]
    return tuple(sets)


def decide(scored: Sequence[Scored]) -> tuple[tuple[int, ...], str]:
    """The blocks to train and why, from the final's outcomes, best first, seeds paired.

    All blocks where no set is better than a control by more than a standard error; among sets within a
    standard error of the best, the one whose lowest block is highest.
    """
    everything = next(found for found in scored if found.candidate.kind == ALL)
    controls = [found for found in scored if found.candidate.kind in (ALL, RANDOM_CONTROL)]
    sets = [found for found in scored if found not in controls]
    if not sets:
        return everything.candidate.layers, "all blocks: nothing else was tried"
    best = sets[0]
    for control in controls:
        if is_level(control.outcome, best.outcome):
            reason = (
                f"all blocks: the best set, {_named(best)}, is not better than the control "
                f"{control.candidate.kind!r} by more than a standard error"
            )
            return everything.candidate.layers, reason
    level = [found for found in sets if is_level(found.outcome, best.outcome)]
    cheapest = max(level, key=lambda found: (found.candidate.lowest, -len(found.candidate.layers)))
    reason = f"{_named(cheapest)}: better than all blocks and a random set by more than a standard error"
    if cheapest is not best:
        reason += f", within one of the best, {_named(best)}, and cheaper to train"
    return cheapest.candidate.layers, reason


def is_level(other: Outcome, best: Outcome) -> bool:
    """Whether ``other`` is worse by at most a standard error of the difference, paired by seed."""
    differences = [a - b for a, b in zip(other.losses, best.losses, strict=True)]
    least = max(standard_error(differences), _ROUNDING * abs(best.mean))
    return not fmean(differences) > least  # true for what is not a number


def _named(found: Scored) -> str:
    return f"{found.candidate.kind} {list(found.candidate.layers)}"


class _Counting:
    """Tries candidates and tells how far it is."""

    def __init__(self, inputs: Inputs, trials: Trials, total: int) -> None:
        self._progress, self._trials, self._total = inputs.progress, trials, total
        self._done = 0

    def __call__(self, candidate: Candidate, effort: Effort) -> Outcome:
        outcome = self._trials.run(candidate.layers, effort)
        self._done += 1
        if self._progress is not None:
            self._progress(f"select: {effort.steps} steps", self._done, max(self._done, self._total))
        return outcome
