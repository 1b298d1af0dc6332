# SPDX-License-Identifier: Apache-2.0
"""Where the time of a step goes, operator by operator, by torch's profiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.profiler import ProfilerActivity, profile

from simulations.benchmarks.shared.steps import Step

TOP = 12
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "flash_attention")
"""Parts of the names of operators that multiply matrices."""


def operators_of(step: Step) -> dict[str, Any]:
    """One step under the profiler: own time in total, share of matrix products, the longest.

    Run the step once beforehand: the first pays for what is set up once.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(e.self_cpu_time_total for e in events if any(p in e.key for p in PRODUCTS))
    return {
        "profiled_ms": total / 1e3,
        "share_of_products": products / total,
        "calls": sum(event.count for event in events),
        "operators": [
            {
                "name": event.key,
                "calls": event.count,
                "own_ms": event.self_cpu_time_total / 1e3,
                "share": event.self_cpu_time_total / total,
            }
            for event in events[:TOP]
        ],
    }


def table_of(found: Mapping[str, Any]) -> str:
    """The longest operators as a table."""
    lines = ["| operator | calls | own ms | share |", "|---|--:|--:|--:|"]
    lines += [
        f"| `{op['name']}` | {op['calls']:,} | {op['own_ms']:,.1f} | {op['share']:.1%} |"
        for op in found["operators"]
    ]
    return "\n".join(lines)
