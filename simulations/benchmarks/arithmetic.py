# SPDX-License-Identifier: Apache-2.0
"""A private step in integers against one in float64, SmolLM2, r = 8 on all linears, 8 examples of 128 tokens.

Measured twice: with all blocks trained, and with the top block alone, where the backward pass is shortest and
noise weighs most. The gradients are computed once in every timed step, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedpeft.adapters.adapter import Adapter
from fedpeft.config.options import option_names
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from simulations.benchmarks.shared.measure import interleaved, medians, ratio
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import Task, standard_task

ROUNDS = {"all_blocks": 6, "top_block": 10}
_WORDS = {"all_blocks": "all blocks", "top_block": "the top block"}


def run(quick: bool = False) -> dict[str, object]:
    """Ratios of whole steps with intervals, and of the part that differs alone."""
    task = standard_task(quick)
    settings = {
        "all_blocks": AdapterSettings(rank=task.rank),
        "top_block": AdapterSettings(rank=task.rank, layers=(-1,)),
    }
    return {name: _measure(task, settings[name], 1 if quick else rounds) for name, rounds in ROUNDS.items()}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    return [
        Row(
            f"private step in integers, {words} trained",
            "in float64",
            "",
            with_interval(result[name]["grid_to_float_step"]),
            None,
        )
        for name, words in _WORDS.items()
    ]


def _measure(task: Task, settings: AdapterSettings, rounds: int) -> dict[str, object]:
    model = task.model()
    adapter = Adapter(model, settings)
    units = [(e,) for e in task.examples]
    (batch,) = plan_batches(units, sum(e.ids.size for e in task.examples))
    gradients = unit_gradients(model, adapter, batch)

    def release(arithmetic: str, whole: bool) -> Callable[[], object]:
        def step() -> object:
            mechanism = PoissonGaussianSum(
                adapter.layout,
                scales=(1.0,) * len(adapter.layout.segments),
                clipping="automatic",
                noise_multiplier=1.0,
                sampling_rate=0.1,
                expected_batch=float(len(units)),
                unit="record",
                arithmetic=arithmetic,
            )
            mechanism.add(unit_gradients(model, adapter, batch) if whole else gradients)
            return mechanism.release(Randomness.fresh().stream("noise"))

        return step

    names = option_names("privacy.arithmetic")
    steps = interleaved({name: release(name, whole=True) for name in names}, rounds)
    parts = interleaved({name: release(name, whole=False) for name in names}, rounds)
    return {
        "parameters": adapter.layout.size,
        "grid_to_float_step": ratio(steps, "grid", "float"),
        "median_seconds_step": medians(steps),
        "median_seconds_clip_sum_and_noise": medians(parts),
    }
