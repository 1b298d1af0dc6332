# SPDX-License-Identifier: Apache-2.0
"""A private step against ordinary ones: SmolLM2, r = 8 on all linears, 8 examples of 128 tokens.

Ours is the whole step: gradients of each example, scaling, clipping, sum, noise, update. It trains B alone.
Ordinary steps are peft's LoRA (A and B trained) with plain SGD and the same head on response rows only, the
same with A frozen, and our own step with the batch's gradient of B by plain autograd. What the gathered
head gains is measured apart, on the ordinary step. Ratios of time: below 1, the first is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulations.benchmarks.shared.measure import interleaved, medians, ratio
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import STEPS, standard_task

PAIRS = 24
BAR = 1.05
_NAMES = ("private", "without_privacy", "ordinary")
_REPORTED = ("ordinary_b_only", "ordinary_whole_head")
_REPORTED_PAIRS = 6


def run(quick: bool = False) -> dict[str, object]:
    """Median ratios with intervals."""
    task = standard_task(quick)
    steps = {name: STEPS[name](task) for name in _NAMES + _REPORTED}
    times = interleaved({name: steps[name] for name in _NAMES}, 2 if quick else PAIRS)
    extra = interleaved(
        {name: steps[name] for name in ("private", "ordinary", *_REPORTED)}, 1 if quick else _REPORTED_PAIRS
    )
    against = ratio(times, "private", "ordinary")
    return {
        "ratio_to_nonprivate": against["wall"],
        "private_to_ordinary": against,
        "private_to_without_privacy": ratio(times, "private", "without_privacy"),
        "private_to_ordinary_b_only": ratio(extra, "private", "ordinary_b_only"),
        "gathered_head_to_whole_head": ratio(extra, "ordinary", "ordinary_whole_head"),
        "median_seconds": medians(extra) | medians(times),
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    step = "private step, SmolLM2, r = 8, all linears, 8 x 128"

    def row(key: str, against: str, barred: bool = True) -> Row:
        found = result[key]
        bar, met = (f"<= {BAR}", found["wall"] <= BAR) if barred else ("", None)
        return Row(step, against, bar, with_interval(found), met)

    return [
        row("private_to_ordinary", "ordinary peft step (A and B), same head"),
        row("private_to_without_privacy", "our own step without privacy"),
        row("private_to_ordinary_b_only", "ordinary peft step, A frozen", barred=False),
        Row(
            "head on response rows only (half of the tokens)",
            "all rows, peft step",
            "",
            with_interval(result["gathered_head_to_whole_head"]),
            None,
        ),
    ]
