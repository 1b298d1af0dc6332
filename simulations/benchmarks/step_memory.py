# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a private step, ours against opacus, SmolLM2, r = 8, 8 examples of 128 tokens.

Each is a process of its own that loads the backbone and takes two steps; its peak is the largest sum of PSS
over samples 50 ms apart. ``nothing`` loads the backbone and takes no step. Medians of the repetitions, which
alternate. On a GPU the figure is the allocator's peak.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.rows import Row

REPEATS = 3
BAR = 0.95
_NAMES = ("private", "opacus_hooks", "opacus_hooks_b_only", "opacus_ghost", "ordinary", "nothing")
_BARRED = ("private", "opacus_hooks")


def run(quick: bool = False) -> dict[str, object]:
    """Peak MB by step and ratios of ours to theirs."""
    peaks: dict[str, list[float]] = {name: [] for name in _NAMES}
    for i in range(1 if quick else REPEATS):
        for name in _NAMES if not quick else _BARRED:
            if i == 0 or name in _BARRED:
                peaks[name].append(_peak_mb(name, quick))
    median = {name: float(np.median(values)) for name, values in peaks.items() if values}
    ours = median["private"]
    return {
        "peak_mb": {name: values for name, values in peaks.items() if values},
        "ours_to_theirs": {name: ours / mb for name, mb in median.items() if name != "private"},
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    peaks, ratios = result["peak_mb"], result["ours_to_theirs"]

    def figure(name: str) -> str:
        ours, theirs = (float(np.median(peaks[key])) for key in ("private", name))
        return f"{ratios[name]:.3f} ({ours:,.0f} against {theirs:,.0f} MB)"

    step = "peak memory of that step"
    words = {
        "opacus_hooks_b_only": "opacus, hooks, A frozen",
        "opacus_ghost": "opacus, ghost clipping",
        "ordinary": "ordinary peft step",
        "nothing": "the backbone loaded, no step",
    }
    barred = Row(step, "opacus, hooks", f"<= {BAR}", figure("opacus_hooks"), ratios["opacus_hooks"] <= BAR)
    return [barred, *(Row(step, text, "", figure(name), None) for name, text in words.items())]


def _peak_mb(name: str, quick: bool) -> float:
    command = [sys.executable, "-m", "simulations.benchmarks.shared.contender", name]
    usage = run_measured([*command, *(["--quick"] if quick else [])])
    gpu = json.loads(usage.stdout)["gpu_mb"]
    return usage.peak_mb if gpu is None else float(gpu)
