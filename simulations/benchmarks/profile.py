# SPDX-License-Identifier: Apache-2.0
"""Where the time of a private step goes: torch's profiler on one step, SmolLM2, r = 8, 8 x 128.

Operators by the CPU time of their own. ``profile_before.json`` is the same command on the code as it was
before the work on speed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulations.benchmarks.shared.measure import medians, timed
from simulations.benchmarks.shared.operators import operators_of, table_of
from simulations.benchmarks.shared.rows import Row
from simulations.benchmarks.shared.steps import private, standard_task

_BEFORE = Path(__file__).resolve().parents[1] / "results" / "profile_before.json"


def run(quick: bool = False) -> dict[str, object]:
    """Operators with calls, own milliseconds and share of a step; seconds of steps without the profiler."""
    step = private(standard_task(quick))
    step()
    times = {"step": [timed(step) for _ in range(1 if quick else 5)]}
    return {"median_seconds": medians(times)["step"]} | operators_of(step)


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    figure = (
        f"{result['share_of_products']:.1%} of {result['profiled_ms']:,.0f} ms; {result['calls']:,} operator "
        f"calls; {result['median_seconds']:.2f} s without the profiler"
    )
    return [Row("matrix products and attention in a private step", "all of its time", "", figure, None)]


def details(result: Mapping[str, Any]) -> str:
    """Both profiles."""
    parts = []
    if _BEFORE.is_file():
        parts.append("Before:\n\n" + _table(json.loads(_BEFORE.read_text(encoding="utf-8"))))
    return "\n\n".join([*parts, "After:\n\n" + _table(result)])


def _table(result: Mapping[str, Any]) -> str:
    return f"{result['median_seconds']:.2f} s a step.\n\n{table_of(result)}"
