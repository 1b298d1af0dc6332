# SPDX-License-Identifier: Apache-2.0
"""A site's part of a round: private steps of plain SGD from the state that all sites share.

Plain SGD without state, because whatever private state entered a step would have to be private itself;
momentum and Adam live at the server, which sees releases only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.privacy.mechanism import PoissonGaussianSum, Released, combine
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.sampling import poisson_sample
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.types import FloatVector, Part


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """What the steps of one round depend on, all of it public.

    Attributes:
        scales: ``(S,)`` b_s of each segment.
        expected_batch: sampling rate times declared units.
        max_tokens: padded tokens in a micro-batch; speed and memory only.
        arithmetic: in which numbers the steps are summed and noised.
        rank: of the part of the adapter that is trained; 0: all of it.
    """

    local_steps: int
    learning_rate: float
    noise_multiplier: float
    sampling_rate: float
    scales: tuple[float, ...]
    clipping: str
    expected_batch: float
    unit: str
    max_tokens: int
    arithmetic: str = "float"
    rank: int = 0


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a round is, for the site's own terminal and log; it never leaves the site."""

    step: int
    num_steps: int
    tokens_done: int
    tokens_in_step: int


Progress = Callable[[StepProgress], None]
Units = Mapping[str, tuple[Example, ...]]
_ALIKE: Final = UnitWeights()


def local_update(
    model: nn.Module,
    adapter: Adapter,
    units: Units,
    start: FloatVector,
    plan: LocalPlan,
    randomness: Randomness,
    progress: Progress | None = None,
    how: Execution = PLAIN,
    weights: UnitWeights = _ALIKE,
) -> Released[FloatVector]:
    """Take ``plan.local_steps`` private steps from ``start``; release the difference they made.

    Where units vote on the clip level, the mean of the steps' released votes follows the difference.

    Args:
        model: the frozen backbone.
        adapter: attached to it; what it holds afterwards is of no use.
        units: the site's training units by id; may be empty.
        start: ``(D,)`` float32.
        plan: of the steps; public.
        randomness: of this request alone.
        progress: called after every micro-batch.
        how: speed and memory.
        weights: of the units' tasks.
    """
    state, part = start.astype(np.float64), adapter.part(plan.rank)
    trained = state[: adapter.layout.size]  # what comes after it stays as it is
    releases: list[Released[npt.NDArray[np.float64]]] = []
    for step in range(plan.local_steps):
        adapter.load(state.astype(np.float32))
        mechanism = PoissonGaussianSum(
            part.layout,
            scales=plan.scales,
            clipping=plan.clipping,
            noise_multiplier=plan.noise_multiplier,
            sampling_rate=plan.sampling_rate,
            expected_batch=plan.expected_batch,
            unit=plan.unit,
            arithmetic=plan.arithmetic,
        )
        sample = poisson_sample(units, plan.sampling_rate, randomness, step)
        chosen = {bound: [units[n] for n in names] for bound, names in weights.bounds(sample).items()}
        _add_all(model, adapter, mechanism, part, chosen, plan, step, progress, how)
        released = mechanism.release(randomness.stream("noise", step))
        releases.append(released)
        trained -= plan.learning_rate * part.lift(released.value[: part.size])
    votes = np.mean([released.value[part.size :] for released in releases], axis=0)  # empty, as a rule
    return combine(releases, np.concatenate((part.take(state - start), votes)).astype(np.float32))


def _add_all(
    model: nn.Module,
    adapter: Adapter,
    mechanism: PoissonGaussianSum,
    part: Part,
    chosen: Mapping[float, Sequence[tuple[Example, ...]]],
    plan: LocalPlan,
    step: int,
    progress: Progress | None,
    how: Execution,
) -> None:
    total = sum(example.ids.size for units in chosen.values() for unit in units for example in unit)
    done = 0
    for bound, units in chosen.items():
        for batch in plan_batches(units, plan.max_tokens):
            mechanism.add(part.cut(unit_gradients(model, adapter, batch, how)), bound)
            done += batch.num_tokens
            if progress is not None:
                progress(StepProgress(step + 1, plan.local_steps, done, total))
