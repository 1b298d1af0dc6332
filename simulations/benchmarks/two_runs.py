# SPDX-License-Identifier: Apache-2.0
"""Two federations after each other in one process, on the tiny model: what a run costs that is not the first.

Two sites, two rounds of one step, nothing evaluated; real apps, ledgers and export. Once apart, and once
sharing what both would make alike. The first run of the process also imports and warms up. Medians over
processes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpeft.flower.simulation import simulate
from fedpeft.shared import Shared
from fedpeft.testing import tiny_config
from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.rows import Row

REPEATS = 3


def run(quick: bool = False) -> dict[str, object]:
    """Seconds of the first and of the second run, and the peak memory of the process."""
    out: dict[str, object] = {}
    for way in ("apart", "sharing"):
        measured = [
            run_measured([sys.executable, "-m", __name__, way]) for _ in range(1 if quick else REPEATS)
        ]
        seconds = np.array([json.loads(usage.stdout) for usage in measured])
        first, second = np.median(seconds, axis=0)
        out[way] = {
            "first_s": float(first),
            "second_s": float(second),
            "process_s": float(np.median([usage.wall_s for usage in measured])),
            "peak_mb": float(np.median([usage.peak_mb for usage in measured])),
        }
    return out


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    apart, sharing = result["apart"], result["sharing"]
    figure = (
        f"{apart['first_s']:.2f} s, then {apart['second_s']:.2f} s ({sharing['second_s']:.2f} s when they "
        f"share); whole process {apart['process_s']:.1f} s, {apart['peak_mb']:,.0f} MB"
    )
    return [Row("a two-run federation on the tiny model, in process", "", "", figure, None)]


def main(way: str) -> None:
    """Two runs; prints the seconds of each."""
    shared = Shared() if way == "sharing" else None
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        config = tiny_config(Path(folder) / "in", overrides=["evaluation.records=0"])
        for number in range(2):
            started = time.perf_counter()
            simulate(config, Path(folder) / str(number), shared=shared)
            seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1])
