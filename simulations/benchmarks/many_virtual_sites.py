# SPDX-License-Identifier: Apache-2.0
"""1,000 virtual sites against 10 on the tiny model: seconds a site and round, and memory.

Each is a process of its own that runs real apps and a real ledger for each site, 8 records a site of which
4 are expected in a step. Seconds of a round are from the end of one to the end of the next - training,
messages, ledgers, aggregation, checkpoint - so the first is not counted; medians. ``start`` is all that
comes before the end of the first round: data, ledgers and the schedule's commitment at every site.
What a site adds beyond its answer, an adapter's size: its encoded records, its policy, its ledger's handle.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.rows import Row

FEW, MANY = (10, 31), (1000, 4)
"""Sites and rounds."""
REPEATS_OF_FEW = 2
BAR = 1.1


def run(quick: bool = False) -> dict[str, object]:
    """Both, and their ratios."""
    few_case, many_case = ((1, 3), (3, 3)) if quick else (FEW, MANY)
    few = [_measure(*few_case) for _ in range(1 if quick else REPEATS_OF_FEW)]
    many = _measure(*many_case)
    base = {key: float(np.median([one[key] for one in few])) for key in few[0]}
    added = many_case[0] - few_case[0]
    return {
        "few": {"sites": few_case[0], "rounds": few_case[1], **base},
        "many": {"sites": many_case[0], "rounds": many_case[1], **many},
        "time_ratio": many["site_s"] / base["site_s"],
        "grown_kb_a_site": 1000 * (many["peak_mb"] - base["peak_mb"]) / added,
        "adapter_kb": many["adapter_kb"],
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    few, many = result["few"], result["many"]
    sites = f"{many['sites']:,} virtual sites (tiny model)"
    grown, own = result["grown_kb_a_site"], result["adapter_kb"]
    return [
        Row(
            f"{sites}, time a site and round",
            f"{few['sites']}",
            f"<= {BAR}",
            f"{result['time_ratio']:.2f} ({1000 * many['site_s']:.1f} against {1000 * few['site_s']:.1f} ms)",
            result["time_ratio"] <= BAR,
        ),
        Row(
            f"{sites}, memory that a site adds",
            "an adapter's own size",
            "<= 1 adapter",
            f"{grown:.1f} against {own:.1f} KB ({many['peak_mb']:,.0f} against {few['peak_mb']:,.0f} MB)",
            grown <= own,
        ),
        Row(
            f"{sites}, start a site",
            f"{few['sites']}",
            "",
            f"{many['start_s'] / many['sites']:.3f} against {few['start_s'] / few['sites']:.3f} s",
            None,
        ),
    ]


def _measure(sites: int, rounds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "simulations.benchmarks.shared.rounds", str(sites), str(rounds)]
    usage = run_measured(command)
    said = json.loads(usage.stdout)
    return {
        "site_s": float(np.median(said["seconds"])) / sites,
        "start_s": said["total_s"] - sum(said["seconds"]),
        "peak_mb": usage.peak_mb,
        "adapter_kb": 4 * said["dimensions"] / 1000,
    }
