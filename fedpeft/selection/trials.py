# SPDX-License-Identifier: Apache-2.0
"""Temporary training of sets of blocks, each scored on validation rows under noise of an update's size.

Trials of one seed see the same batches and validation rows, whatever blocks they train, so that what they
differ in is the blocks. States below the lowest trained block are kept from one trial to the next, and those
of a higher block are computed from those of a lower one: in order, trials cost one pass through the frozen
blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import nn

from fedpeft.adapters.adapter import Adapter, plan_layout
from fedpeft.data.prompts import Example
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.privacy.allocation.public import PublicStatistics
from fedpeft.selection.descent import Descent
from fedpeft.selection.regime import Regime
from fedpeft.selection.row_gradients import row_gradients
from fedpeft.settings import AdapterSettings, PrivacySettings
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from fedpeft.types import FloatVector

_KEPT_BYTES: Final = 1 << 30  # of states, of one block at a time
_SCORED_BLOCKS_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """The validation losses of one set of blocks, one a seed; lower is better.

    Attributes:
        losses: each the worst of the perturbations.
        trainable: dimensions.
    """

    losses: tuple[float, ...]
    trainable: int

    @property
    def mean(self) -> float:
        """Over seeds; infinite where training went astray."""
        return fmean(self.losses)

    @property
    def standard_error(self) -> float:
        """Of the mean over seeds; 0 for one seed, which tells nothing of it."""
        return standard_error(self.losses)

    @property
    def score(self) -> float:
        """J: the mean and one standard error."""
        return self.mean + self.standard_error


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for one value, infinite where one is."""
    if len(values) < 2:
        return 0.0
    return stdev(values) / math.sqrt(len(values)) if all(map(math.isfinite, values)) else math.inf


@dataclass(frozen=True, slots=True)
class Effort:
    """What a trial may cost: private steps, seeds, and rows to score on."""

    steps: int
    seeds: int
    rows: int


class Trials:
    """Tries sets of blocks of one backbone.

    Attributes:
        blocks: in which ``adapter`` names something to train, ascending.
        regime: of the run.
        num_runs: of training so far.
    """

    def __init__(
        self,
        model: nn.Module,
        adapter: AdapterSettings,
        regime: Regime,
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        batch: int,
        perturbations: int,
        seed: int,
        keep_states: bool = True,
        allocation: PrivacySettings | None = None,
        how: Execution = PLAIN,
    ) -> None:
        """Hold what all trials share; trains nothing.

        Args:
            model: the frozen backbone, without an adapter.
            adapter: kind, rank and modules; of its layers each trial has some.
            regime: of the run.
            train: public or synthetic rows.
            validation: rows of other lineages.
            batch: rows of a step.
            perturbations: m, at each step and for the score.
            seed: public.
            keep_states: whether states of the frozen blocks are kept.
            allocation: shares noise among segments as it would at the start, from the gradients of
                ``train``; default: noise is the same everywhere.
            how: the run's loss, which is what sets of blocks are compared by; no states.
        """
        self.blocks = plan_layout(model, adapter).blocks
        self.num_runs = 0
        self._model, self.regime = model, regime
        self._adapter = adapter.model_copy(update={"residual_rank": 0})  # nothing is averaged here
        self._train, self._validation = tuple(train), _shuffled(validation, seed)
        self._batch, self._perturbations, self._seed = batch, perturbations, seed
        self._keep_states, self._allocation, self._how = keep_states, allocation, how
        self._cache: PrefixCache | None = None

    def run(self, layers: tuple[int, ...], effort: Effort) -> Outcome:
        """Train ``layers`` once a seed and score each."""
        rows = self._validation[: effort.rows]
        losses = []
        with self.descent(layers, self.regime.first(effort.steps)) as descent:
            for number in range(effort.seeds):
                vector = self.train(descent, number)
                random = np.random.default_rng([self._seed_of(number), 4])
                losses.append(descent.worst(rows, vector, descent.regime.rounds - 1, random).loss)
            return Outcome(tuple(losses), descent.adapter.layout.size)

    def train(
        self, descent: Descent, number: int, on_round: Callable[[int], None] | None = None
    ) -> FloatVector:
        """``(d,)`` what ``descent`` makes of the training rows with the seed of repetition ``number``."""
        self.num_runs += 1
        return descent.train(self._train, self._seed_of(number), on_round=on_round)

    def _seed_of(self, number: int) -> int:
        return self._seed + 1000 * number

    def block_scores(self) -> tuple[float, ...]:
        """Norm of the mean clipped gradient of each block's part at the untouched backbone, on a few rows."""
        with self.descent(self.blocks, self.regime) as descent:
            adapter = descent.adapter
            rows = _shuffled(self._train, self._seed)[:_SCORED_BLOCKS_ROWS]
            squares: npt.NDArray[np.float64] = descent.mean_gradient(rows, adapter.zeros()) ** 2
            scores = dict.fromkeys(self.blocks, 0.0)
            for segment in adapter.layout.segments:
                scores[segment.block] += float(squares[segment.slice].sum())
            return tuple(math.sqrt(score) for score in scores.values())

    @contextmanager
    def descent(self, layers: tuple[int, ...], regime: Regime) -> Iterator[Descent]:
        """Within the context an adapter of ``layers`` is attached."""
        settings = self._adapter.model_copy(update={"layers": layers})
        how = self._execution(min(layers))
        adapter = Adapter(self._model, settings)
        try:
            scales = self._scales(adapter, how)
            yield Descent(adapter, regime, self._batch, self._perturbations, how, scales)
        finally:
            adapter.detach()

    def _scales(self, adapter: Adapter, how: Execution) -> tuple[float, ...]:
        """``(S,)`` what the allocation makes of the first rows; nothing without one."""
        if self._allocation is None:
            return ()
        rows = _shuffled(self._train, self._seed)[:_SCORED_BLOCKS_ROWS]
        gradients = row_gradients(adapter, rows, how)
        public = PublicStatistics.of_gradients(adapter.layout, gradients, "trials")
        return Allocator.of(self._allocation, adapter.layout, public).scales({})

    def _execution(self, lowest: int) -> Execution:
        if lowest < 1 or not self._keep_states:
            return self._how
        if self._cache is None or self._cache.block != lowest:
            below = self._cache if self._cache is not None and self._cache.block < lowest else None
            if below is not None:
                below.forget_below()  # states of one lower block at a time are enough
            self._cache = PrefixCache(self._model, lowest, StateStore(_KEPT_BYTES), below)
        return replace(self._how, prefix=self._cache)


def _shuffled(rows: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """In an order of its own, so that the first few are of all kinds."""
    return tuple(rows[i] for i in np.random.default_rng([seed, 5]).permutation(len(rows)))
