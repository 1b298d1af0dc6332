# SPDX-License-Identifier: Apache-2.0
"""Training on public or synthetic rows as the run will train: same loss, clipping, noise and server.

It draws its noise from a public seed and makes no release: the rows are no secret, or their privacy was paid
for when they were made. Nothing here takes a site or a ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.aggregation.averaging import include
from fedpeft.aggregation.server_optimizer import OptimizerState, make_server_optimizer
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.data.prompts import Example
from fedpeft.privacy.clipping import clip_factors
from fedpeft.selection.regime import Regime
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import example_losses, unit_gradients
from fedpeft.types import FloatVector

Doubles = npt.NDArray[np.float64]
MAX_TOKENS: Final = 2048
_PROBE: Final = 4
"""Most rows of a batch on which perturbations are compared: each costs a forward pass of them."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst of several perturbed adapters.

    Attributes:
        vector: ``(d,)`` float32.
        loss: there.
        losses: of all that were tried; one, of the adapter itself, where none was perturbed.
    """

    vector: FloatVector
    loss: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Descent:
    """How one adapter is trained in trials.

    Attributes:
        adapter: attached to the backbone; what it holds afterwards is of no use.
        regime: of the run.
        batch: rows of a step; the noise is that of the run's own batch all the same.
        perturbations: m, perturbed adapters of which the worst one's gradient is taken; 0: the adapter's own.
        how: speed and memory.
        scales: ``(S,)`` b_s of each segment, of all rounds; empty: the clip norm for all.
    """

    adapter: Adapter
    regime: Regime
    batch: int
    perturbations: int = 0
    how: Execution = PLAIN
    scales: tuple[float, ...] = ()

    def train(
        self,
        rows: Sequence[Example],
        seed: int,
        start: FloatVector | None = None,
        on_round: Callable[[int], None] | None = None,
    ) -> FloatVector:
        """``(d,)`` what a run of the regime's rounds would export.

        Args:
            rows: to train on.
            seed: public, of batches, noise and perturbations.
            start: ``(d,)`` where to begin; default: the update of zero.
            on_round: hears of each round done.
        """
        federation = self.regime.federation
        optimizer = make_server_optimizer(federation)
        smoother = Smoother(self.adapter.layout, federation.layer_smoothing)
        state = (self.adapter.zeros() if start is None else start)[: self.adapter.layout.size]
        average, memory = np.zeros(state.size), OptimizerState()
        spread = self._spread()
        batches = self._batches(rows, np.random.default_rng([seed, 0]))
        random = np.random.default_rng([seed, 1])
        for number in range(self.regime.rounds):
            local = state.astype(np.float64)
            for _ in range(self.regime.local_steps):
                local = local - self.regime.learning_rates[number] * self.step(
                    next(batches), local, number, random
                )
            moved = self.regime.learning_rates[number] * self.regime.noise_deviation(number)
            variance = self.regime.local_steps * (moved * spread) ** 2
            state, memory = optimizer.apply(
                state, smoother.smooth(local - state), smoother.noise_after(variance), memory
            )
            average = include(average, state, number + 1)
            if on_round is not None:
                on_round(number + 1)
        return average.astype(np.float32) if federation.average_iterates else state

    def step(
        self, rows: Sequence[Example], point: Doubles, number: int, random: np.random.Generator
    ) -> Doubles:
        """``(d,)`` the noised mean of clipped gradients that a step of round ``number`` applies.

        Args:
            rows: of the step.
            point: ``(d,)`` where the adapter is.
            number: of the round, from 0.
            random: from a public seed.
        """
        vector = point.astype(np.float32)
        if self.perturbations:
            vector = self.worst(rows[:_PROBE], vector, number, random).vector
        noise = self.regime.noise_deviation(number) * self._spread() * random.standard_normal(point.size)
        return self.mean_gradient(rows, vector) + noise

    def worst(
        self, rows: Sequence[Example], vector: FloatVector, number: int, random: np.random.Generator
    ) -> Worst:
        """Of m adapters moved by noise of one update's size, the one with the largest mean loss on ``rows``.

        With m = 0 it is the adapter itself.
        """
        if not self.perturbations:
            loss = self.loss(rows, vector)
            return Worst(vector, loss, (loss,))
        size = self.regime.displacement(number) * (self._spread() if self.regime.noise_moves else 1.0)
        best, losses = vector, []
        for _ in range(self.perturbations):
            moved = (vector + size * random.standard_normal(vector.size)).astype(np.float32)
            losses.append(self.loss(rows, moved))
            if losses[-1] >= max(losses):
                best = moved
        return Worst(best, max(losses), tuple(losses))

    @torch.no_grad()
    def loss(self, rows: Sequence[Example], vector: FloatVector) -> float:
        """Mean over ``rows`` of each one's loss; infinite where one is no number."""
        self.adapter.load(vector)
        model, device = self.adapter.model, self.adapter.device
        total = 0.0
        for chunk in _chunks(rows):
            total += float(example_losses(model, chunk, device, self.how).double().sum())
        return total / len(rows) if np.isfinite(total) else float("inf")

    def mean_gradient(self, rows: Sequence[Example], vector: FloatVector) -> Doubles:
        """``(d,)`` mean over ``rows`` of gradients clipped to C; one that is no number adds zero."""
        self.adapter.load(vector)
        layout, regime = self.adapter.layout, self.regime
        scales = self.scales or (regime.clip_norm,) * len(layout.segments)
        total = np.zeros(layout.size)
        for batch in plan_batches([(row,) for row in rows], MAX_TOKENS):
            gradients = unit_gradients(self.adapter.model, self.adapter, batch, self.how)
            factors = clip_factors(gradients, scales, regime.clipping)
            dropped = (factors == 0)[:, None]
            for segment, gradient in zip(layout.segments, gradients, strict=True):
                flat = gradient.flatten(1).masked_fill(dropped, 0.0)
                total[segment.slice] += (factors.to(flat.dtype) @ flat).double().cpu().numpy()
        return total / len(rows)

    def _spread(self) -> Doubles:
        """``(d,)`` the scale of each coordinate over the clip norm."""
        layout = self.adapter.layout
        spread = np.ones(layout.size)
        for segment, scale in zip(layout.segments, self.scales, strict=False):  # no scales: all ones
            spread[segment.slice] = scale / self.regime.clip_norm
        return spread

    def _batches(self, rows: Sequence[Example], random: np.random.Generator) -> Iterator[list[Example]]:
        """Every row once, in a new order each time round; what is left over at an end is left out."""
        size = min(self.batch, len(rows))
        while True:
            order = random.permutation(len(rows))
            for start in range(0, len(rows) - size + 1, size):
                yield [rows[i] for i in order[start : start + size]]


def _chunks(rows: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for batch in plan_batches([(row,) for row in rows], MAX_TOKENS):
        yield from (chunk.examples for chunk in batch.chunks)
