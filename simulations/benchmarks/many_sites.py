# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a whole simulation with 50 virtual sites against 2, SmolLM2 (r = 8, top block), one round.

Each run is a process of its own; its peak is what the operating system says. Sites hold 40 short records and
sample 4, so that the peak is the backbone's and not a batch's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tomli_w

from fedpeft.testing import write_records

MANY, FEW = 50, 2
RECORDS = 40
_MAIN = "import sys; from fedpeft.cli import main; sys.exit(main(sys.argv[1:]))"


def run() -> dict[str, object]:
    """Peak resident MB of both and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        peaks = {n: _peak_mb(Path(folder) / str(n), n) for n in (FEW, MANY)}
    return {"peak_rss_mb": peaks, "ratio": peaks[MANY] / peaks[FEW]}


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
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["peak_rss_mb"])
