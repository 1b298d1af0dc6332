# SPDX-License-Identifier: Apache-2.0
"""Where the rounds begin: at an update of zero, or at one trained without noise on public or synthetic rows.

It is a function of rows that may be looked at, so it costs nothing. What it gains is not the run's: it is
evaluated by itself and reported apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from fedpeft.layer_choice import rows_of_run
from fedpeft.selection.base import Progress
from fedpeft.selection.descent import Descent
from fedpeft.selection.regime import Regime
from fedpeft.selection.rows import encode
from fedpeft.types import FloatVector, JsonDict
from fedpeft.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Start:
    """An adapter before the first round; ``facts`` on how it was made are ``None`` for the update of zero."""

    vector: FloatVector
    facts: JsonDict | None


def warm_start(workspace: Workspace, progress: Progress | None = None) -> Start:
    """Train ``selection.warm_start`` steps without noise, with the run's own clipping, rate and server.

    Args:
        workspace: of the run; its sites are not asked for anything.
        progress: hears of steps.

    Raises:
        DataError: the rows cannot be used.
    """
    config, began = workspace.config, monotonic()
    steps, settings = config.selection.warm_start, config.selection
    zeros = workspace.adapter.zeros()
    rows = rows_of_run(config, workspace.out) if steps else None
    if rows is None:
        return Start(zeros, None)
    regime = Regime(
        noise=(0.0,) * steps,
        learning_rates=(config.training.learning_rate,) * steps,
        local_steps=1,
        clipping=config.privacy.clipping,
        clip_norm=config.privacy.clip_norm,
        federation=config.federation,
    )

    def on_round(number: int) -> None:
        if progress is not None:
            progress("warm start: steps without noise, on rows that may be looked at", number, steps)

    with workspace.lock:
        descent = Descent(workspace.adapter, regime, settings.batch, how=workspace.execution)
        examples = encode(rows.rows.records, workspace.prompter)
        vector = descent.train(examples, settings.seed, on_round=on_round)
    facts = {"steps": steps, "batch": settings.batch, "data": rows.to_json(), "seconds": monotonic() - began}
    zeros[: vector.size] = vector  # nothing is carried yet
    return Start(zeros, facts)
