# SPDX-License-Identifier: Apache-2.0
"""How cost grows with sites, rounds, records, rank, length and segments: a curve each.

Sites, rounds and records: seconds of whole federations on the tiny model (two sites, three rounds, 8
records unless varied; the first round is left out but for rounds). Rank, length and segments: seconds of a
private step of SmolLM2 (r = 8, all blocks, 8 x 64 unless varied), medians of interleaved repetitions. The
slope is that of the logarithms: 1 is proportional, below 1 something fixed weighs, above 1 something grows
faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.settings import AdapterSettings
from fedpeft.testing import dummy_examples
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from simulations.benchmarks.shared.measure import interleaved, medians, slope
from simulations.benchmarks.shared.rounds import run_rounds
from simulations.benchmarks.shared.rows import Row
from simulations.benchmarks.shared.steps import BATCH, Step, Task, standard_task

REPEATS, TOKENS = 3, 64
_CURVES: Mapping[str, Sequence[int]] = {
    "sites": (1, 4, 16, 64),
    "rounds": (3, 6, 12, 24, 48),
    "records": (8, 32, 128, 512),
    "rank": (1, 4, 16, 64, 256),
    "length": (16, 32, 64, 128, 256),
    "segments": (7, 28, 105, 210),
}
_WHY = {
    "sites": "Proportional: sites of a simulation take turns on one backbone.",
    "rounds": "Proportional but for what a run does once.",
    "records": "Below 1 at first: a micro-batch of few short records costs little more than one of fewer.",
    "rank": "Almost flat: r columns are added to products with hundreds. The noise of the step grows with r.",
    "length": "Near proportional: attention's square is small at these lengths.",
    "segments": "Top blocks first, 7 segments each. Below 1: all blocks run forwards whatever is trained.",
}


def run(quick: bool = False) -> dict[str, object]:
    """Points and slope of each curve."""
    task = standard_task(quick)
    makers: dict[str, Callable[[Sequence[int]], list[float]]] = {
        "sites": lambda x: [_round_s(n, 4) for n in x],
        "rounds": lambda x: [run_rounds(2, n)["total_s"] for n in x],
        "records": lambda x: [_round_s(2, 4, num_records=n) for n in x],
        "rank": lambda x: _steps({n: _step(task, rank=n) for n in x}, quick),
        "length": lambda x: _steps({n: _step(task, tokens=n) for n in x}, quick),
        "segments": lambda x: _steps({n: _step(task, top=n // 7) for n in x}, quick),
    }
    curves: dict[str, object] = {}
    for name, points in _CURVES.items():
        x = (7, 14) if quick and name == "segments" else points[:2] if quick else points
        seconds = makers[name](x)
        curves[name] = {"x": list(x), "seconds": seconds, "slope": slope(x, seconds)}
    return {"curves": curves}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    return [
        Row(
            f"cost against {name}, {curve['x'][0]} to {curve['x'][-1]}",
            "",
            "",
            f"slope {curve['slope']:.2f}; {curve['seconds'][0]:.2f} to {curve['seconds'][-1]:.2f} s",
            None,
        )
        for name, curve in result["curves"].items()
    ]


def details(result: Mapping[str, Any]) -> str:
    """The curves, and why they bend."""
    lines = ["| against | seconds | slope | |", "|---|---|--:|---|"]
    for name, curve in result["curves"].items():
        points = ", ".join(f"{x}: {s:.2f}" for x, s in zip(curve["x"], curve["seconds"], strict=True))
        lines.append(f"| {name} | {points} | {curve['slope']:.2f} | {_WHY[name]} |")
    return "\n".join(lines)


def _round_s(num_sites: int, rounds: int, num_records: int = 8) -> float:
    return float(np.median(run_rounds(num_sites, rounds, num_records)["seconds"]))


def _steps(steps: Mapping[int, Step], quick: bool) -> list[float]:
    seconds = medians(interleaved({str(n): step for n, step in steps.items()}, 1 if quick else REPEATS))
    return [seconds[str(n)] for n in steps]


def _step(task: Task, *, rank: int | None = None, tokens: int = TOKENS, top: int | None = None) -> Step:
    """Gradients of each example, of the whole batch at once."""
    layers = "all" if top is None else tuple(range(-top, 0))
    model = task.model()
    adapter = Adapter(model, AdapterSettings(rank=rank or task.rank, layers=layers))
    examples = dummy_examples([tokens] * BATCH, len(task.backbone.tokenizer))
    (batch,) = plan_batches([(e,) for e in examples], BATCH * tokens)
    return lambda: unit_gradients(model, adapter, batch)
