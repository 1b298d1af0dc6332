# SPDX-License-Identifier: Apache-2.0
"""Arithmetic achieved by a private step and by a whole local round, against the best float32 product.

The numerator is the floor of a step (``shared/arithmetic.py``): 4 operations a weight and real token, plus
attention, the head on response rows only; 2 below the lowest trained block. The denominator is the best of
2048^3 products, interleaved with the steps, same threads. Step: SmolLM2, r = 8, 8 x 128. Round:
``local_update`` over 32 records of MedQuAD's lengths, with grouping, loading, clipping and noise in the
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings
from fedpeft.training.batches import token_budget
from fedpeft.training.local import LocalPlan, local_update
from simulations.benchmarks.shared.arithmetic import best_rate, needed_operations
from simulations.benchmarks.shared.lengths import draw, examples_of
from simulations.benchmarks.shared.measure import median_interval, timed
from simulations.benchmarks.shared.rows import Row
from simulations.benchmarks.shared.steps import Step, Task, private, standard_task

STEP_PAIRS, ROUND_PAIRS, RECORDS = 10, 4, 32
BARS = {"step": 0.6, "round": 0.5}


def run(quick: bool = False) -> dict[str, object]:
    """Shares of the best rate, with intervals, and the rates."""
    task = standard_task(quick)
    lengths = draw("medquad", 4 if quick else RECORDS, seed=0)
    records = examples_of(lengths, len(task.backbone.tokenizer))
    step = _shares(task, task.examples, private(task), 2 if quick else STEP_PAIRS)
    local = _shares(task, records, _local_round(task, records), 1 if quick else ROUND_PAIRS)
    return {"step": step, "round": local}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    words = {"step": "arithmetic achieved in a step", "round": "the same over a whole local round"}

    def row(key: str) -> Row:
        found = result[key]
        figure = (
            f"{found['share']:.1%} [{found['share_low']:.1%}, {found['share_high']:.1%}] of "
            f"{found['best_gflops']:.0f} GFLOP/s, {found['pairs']} pairs"
        )
        return Row(
            words[key],
            "best 2048^3 float32 product",
            f">= {BARS[key]:.0%}",
            figure,
            found["share"] >= BARS[key],
        )

    return [row(key) for key in BARS]


def _shares(task: Task, examples: Sequence[Example], step: Step, pairs: int) -> dict[str, float]:
    operations = needed_operations(task.backbone.model, examples, lowest_trained=0)
    step()
    shares, rates = [], []
    for _ in range(pairs):
        before = best_rate(task.backbone.device)
        seconds = timed(step)["wall"]
        rates.append(max(before, best_rate(task.backbone.device)))
        shares.append(operations / seconds / rates[-1])
    median, low, high = median_interval(shares)
    return {
        "pairs": pairs,
        "share": median,
        "share_low": low,
        "share_high": high,
        "needed_gflop": operations / 1e9,
        "best_gflops": float(np.median(rates)) / 1e9,
    }


def _local_round(task: Task, records: Sequence[Example]) -> Step:
    model = task.model()
    adapter = Adapter(model, AdapterSettings(rank=task.rank))
    units = {str(i): (example,) for i, example in enumerate(records)}
    plan = LocalPlan(
        local_steps=1,
        learning_rate=1e-4,
        noise_multiplier=1.0,
        sampling_rate=1.0,  # every record, so that the work is known
        scales=(1.0,) * len(adapter.layout.segments),
        clipping="automatic",
        expected_batch=float(len(records)),
        unit="record",
        max_tokens=token_budget("auto", torch.device("cpu")),
    )
    return lambda: local_update(model, adapter, units, adapter.zeros(), plan, Randomness.fresh())
