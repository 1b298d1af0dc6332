# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a whole simulation with 50 virtual sites against 2, SmolLM2 (r = 8, top block), one round.

Each run is a process of its own. Sites hold 40 short records and sample 4, so that the peak is the backbone's
and not a batch's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from fedpeft.testing import write_records
from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.rows import Row

MANY, FEW = 50, 2
RECORDS = 40
BAR = 1.1
_MAIN = "import sys; from fedpeft.cli import main; sys.exit(main(sys.argv[1:]))"


def run(quick: bool = False) -> dict[str, object]:
    """Peak MB of both and their ratio; ``quick``: two sites against one."""
    few, many = (1, 2) if quick else (FEW, MANY)
    with tempfile.TemporaryDirectory() as folder:
        peaks = {n: _peak_mb(Path(folder) / str(n), n) for n in (few, many)}
    return {"peak_mb": peaks, "ratio": peaks[many] / peaks[few]}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    few, many = result["peak_mb"].values()
    return [
        Row(
            f"peak memory, {MANY} virtual sites, SmolLM2",
            f"{FEW}",
            f"<= {BAR}",
            f"{result['ratio']:.3f} ({many:,.0f} against {few:,.0f} MB)",
            result["ratio"] <= BAR,
        )
    ]


def _peak_mb(folder: Path, num_sites: int) -> float:
    folder.mkdir()
    sites = []
    for i in range(num_sites):
        write_records(folder / f"{i}.jsonl", RECORDS, seed=i)
        sites.append({"name": f"site{i}", "path": f"{i}.jsonl", "declared_units": RECORDS})
    config = {
        "adapter": {"layers": [-1]},
        "data": {"source": "jsonl", "max_length": 64},
        "privacy": {"delta": 1e-5},
        "training": {"sampling_rate": 0.1},
        "federation": {"rounds": 1},
        "evaluation": {"records": 0},
        "sites": sites,
    }
    (folder / "run.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    command = [
        sys.executable,
        "-c",
        _MAIN,
        "simulate",
        str(folder / "run.toml"),
        "--out",
        str(folder / "out"),
    ]
    return run_measured(command).peak_mb
