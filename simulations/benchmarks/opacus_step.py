# SPDX-License-Identifier: Apache-2.0
"""A private step against opacus 1.6: hooks, fast gradient clipping and ghost clipping; 8 x 128 tokens.

Same frozen SmolLM2, same modules (all linears, r = 8), same loss of a sequence, same head on response rows
only, noise and plain SGD in both. What differs: opacus trains peft's A and B, ours B alone (and noises B
alone); opacus clips flat and ours automatically; our sums and noise are float64. For what A costs, opacus is
also timed with A frozen. Ratios of time, theirs over ours: above 1, ours is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulations.benchmarks.shared.measure import interleaved, medians, ratio
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import STEPS, standard_task

PAIRS, B_ONLY_PAIRS = 8, 3
BARS = {"hooks": 1.05, "fast": 1.5, "ghost": 1.6}
_WORDS = {"hooks": "hooks", "fast": "fast gradient clipping", "ghost": "ghost clipping"}


def run(quick: bool = False) -> dict[str, object]:
    """Ratios of opacus' time to ours."""
    task = standard_task(quick)
    full = {name: STEPS[name](task) for name in ("private", *(f"opacus_{mode}" for mode in BARS))}
    times = interleaved(full, 2 if quick else PAIRS)
    b_only = {f"opacus_{mode}_b_only": STEPS[f"opacus_{mode}_b_only"](task) for mode in BARS}
    less = interleaved({"private": full["private"], **b_only}, 1 if quick else B_ONLY_PAIRS)
    return {
        "theirs_to_ours": {mode: ratio(times, f"opacus_{mode}", "private") for mode in BARS},
        "theirs_with_a_frozen_to_ours": {
            mode: ratio(less, f"opacus_{mode}_b_only", "private") for mode in BARS
        },
        "median_seconds": medians(less) | medians(times),
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    step = "private step, 8 x 128: times faster"
    barred = [
        Row(
            step,
            f"opacus, {_WORDS[mode]}",
            f">= {bar}",
            with_interval(result["theirs_to_ours"][mode]),
            result["theirs_to_ours"][mode]["wall"] >= bar,
        )
        for mode, bar in BARS.items()
    ]
    frozen = result["theirs_with_a_frozen_to_ours"]
    return barred + [
        Row(step, f"opacus, {_WORDS[mode]}, A frozen", "", with_interval(frozen[mode]), None) for mode in BARS
    ]
