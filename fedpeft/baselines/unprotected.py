# SPDX-License-Identifier: Apache-2.0
"""Training without clipping and noise, for comparison in a simulation. NOT PRIVATE.

Everything but clipping and noise is that of a run: the same gradients of units, Poisson sampling, steps,
expected batches, aggregation, smoothing, server optimizer and average. What comes out is a plain vector: it
is no release, has no event, and there is nothing that could send it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np

from fedpeft.aggregation.averaging import include
from fedpeft.aggregation.products import maker_of
from fedpeft.aggregation.server_optimizer import OptimizerState, make_server_optimizer
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.aggregation.stepping import move
from fedpeft.parts import parts_of
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.sampling import poisson_sample
from fedpeft.training.batches import plan_batches, token_budget
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.local import Units
from fedpeft.types import FloatVector, Part
from fedpeft.workspace import Workspace

Unprotected = Literal["pooled", "federated"]
OnRound = Callable[[int, int], None]

_POOL: Final = "all data in one place"


def train_unprotected(
    workspace: Workspace, kind: Unprotected, on_round: OnRound | None = None
) -> FloatVector:
    """Train from zero without privacy, with the settings of the workspace's run.

    Args:
        workspace: of the run.
        kind: ``"federated"``: every site takes its local steps from the common state, as in the run;
            ``"pooled"``: one party has all units. With one local step the two do the same.
        on_round: called with (rounds done, all rounds).

    Returns:
        What the run would evaluate, ``(D,)``: the average of the rounds' adapters, or the last of them.

    Raises:
        FedpeftError: the first round moved no weight, or a round made one that is not finite.
    """
    config = workspace.config
    parties, parts = _parties(workspace, kind), parts_of(config, workspace.adapter)
    new_aggregator = maker_of(config.federation.aggregation, workspace.adapter)
    optimizer = make_server_optimizer(config.federation)
    smoother = Smoother(workspace.adapter.layout, config.federation.layer_smoothing)
    state, memory = workspace.adapter.zeros(), OptimizerState()
    average, silence = state.astype(np.float64), np.zeros(workspace.adapter.layout.size)
    with workspace.lock:
        for number in range(1, config.federation.rounds + 1):
            aggregator = new_aggregator(state)
            for name, (units, declared_units) in parties.items():
                randomness = _randomness(config.run.seed, kind, name, number)
                expected_batch = config.training.sampling_rate * declared_units
                part = parts.get(name) or Part.everything(workspace.adapter.layout)
                update = exact_update(workspace, units, state, expected_batch, randomness, part)
                aggregator.add(update, expected_batch)
            moved = move(number, state, aggregator, silence, smoother, optimizer, memory)
            state, memory, average = moved.adapter, moved.optimizer, include(average, moved.adapter, number)
            if on_round is not None:
                on_round(number, config.federation.rounds)
    return average.astype(np.float32) if config.federation.average_iterates else state


def exact_update(
    workspace: Workspace,
    units: Units,
    start: FloatVector,
    expected_batch: float,
    randomness: Randomness,
    part: Part | None = None,
) -> FloatVector:
    """The difference that a round's local steps make, without clipping and noise. NOT PRIVATE.

    Args:
        workspace: whose model and adapter are used, and whose ``[training]`` holds.
        units: of one party.
        start: ``(D,)`` float32.
        expected_batch: the divisor of the sum of gradients.
        randomness: of the choice of units.
        part: what the party trains; the rest of the difference is zeros. Default: all.
    """
    training, adapter = workspace.config.training, workspace.adapter
    state = start.astype(np.float64)
    trained = state[: adapter.layout.size]
    for step in range(training.local_steps):
        adapter.load(state.astype(np.float32))
        chosen = [units[name] for name in poisson_sample(units, training.sampling_rate, randomness, step)]
        total = np.zeros(trained.size)
        for batch in plan_batches(chosen, token_budget(training.max_tokens, workspace.backbone.device)):
            gradients = unit_gradients(workspace.model, adapter, batch, workspace.execution)
            for segment, gradient in zip(adapter.layout.segments, gradients, strict=True):
                total[segment.slice] += gradient.double().sum(0).flatten().cpu().numpy()
        own = total if part is None else part.lift(part.take(total))
        trained -= training.learning_rate * own / expected_batch
    difference: FloatVector = (trained - start[: trained.size]).astype(np.float32)
    return difference


def _parties(workspace: Workspace, kind: Unprotected) -> dict[str, tuple[Units, int]]:
    """Units and declared units of each party that trains."""
    declared = workspace.config.declared_units
    if kind == "federated":
        return {name: (data.units, declared[name]) for name, data in workspace.data.items()}
    units = {
        f"{name}/{unit}": examples
        for name, data in workspace.data.items()
        for unit, examples in data.units.items()
    }
    return {_POOL: (units, sum(declared.values()))}


def _randomness(seed: int | None, *names: object) -> Randomness:
    return Randomness.fresh() if seed is None else Randomness.seeded(seed, "unprotected", *names)
