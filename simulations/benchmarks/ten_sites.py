# SPDX-License-Identifier: Apache-2.0
"""Ten SmolLM2 sites, one round, one step of 8 x 128 each: ``fedpeft simulate`` against Flower's Ray engine.

The same run configuration and the same apps, each whole process from start to end: r = 8 on all linears, 8
records of 128 tokens a site, all of them in the step, nothing evaluated. Ray has one actor on two cores,
Flower's default; ``run_simulation`` spares it the SuperLink of ``flwr run``. Training is the time within
the sites' local updates, wherever they ran; outside training is the rest of the wall time. Memory: peak sum
of PSS of all processes. About 2.25 GB of either are the step's own tensors (`step_memory`), which both need,
so the ratio falls with smaller micro-batches and little else: when their default was 512 tokens this command
gave 0.605 (2,076 against 3,432 MB), in the same time. Of the seconds outside training that are ours about 5
are imports, mostly of torch and transformers, and 4 the check on public tokens that no example moves
another's gradient; a fifth of the other's would be little more than the imports. Ray comes with the extra
``ray`` or gets an environment of its own in ``simulations/.peers``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from fedpeft.testing import tiny_config
from simulations.benchmarks.shared.memory import run_measured
from simulations.benchmarks.shared.peers import python_with
from simulations.benchmarks.shared.rows import Row

SITES, BATCH, TOKENS, PAIRS = 10, 8, 128, 2
BARS = {"peak_mb": 0.55, "outside_s": 0.2, "total_s": 1.0}
_WORDS = {"peak_mb": "memory (PSS)", "outside_s": "time outside training", "total_s": "total time"}
_UNITS = {"peak_mb": "MB", "outside_s": "s", "total_s": "s"}
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run(quick: bool = False) -> dict[str, object]:
    """Both ways' figures and their ratios; ``quick``: tiny, and without Ray where it is not installed."""
    ways = {"fedpeft": sys.executable}
    if not quick or importlib.util.find_spec("ray"):
        ways["ray"] = python_with("ray", "flwr[simulation]==1.41.0")
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for i in range(1 if quick else PAIRS):
        for way in list(ways) if i % 2 == 0 else reversed(list(ways)):
            measured[way].append(_measure(way, ways[way], quick))
    median = {way: _medians(figures) for way, figures in measured.items()}
    ratios = {key: median["fedpeft"][key] / median["ray"][key] for key in BARS} if "ray" in median else {}
    return {"ours_to_ray": ratios, "median": median, "measured": measured}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""

    def row(key: str) -> Row:
        ours, theirs = (result["median"][way][key] for way in ("fedpeft", "ray"))
        found = result["ours_to_ray"][key]
        return Row(
            f"10 SmolLM2 sites, one round, 1 step of 8 x 128 each: {_WORDS[key]}",
            "the same apps under Flower's Ray simulation",
            f"<= {BARS[key]}",
            f"{found:.2f} ({ours:,.0f} against {theirs:,.0f} {_UNITS[key]})",
            found <= BARS[key],
        )

    return [row(key) for key in BARS]


def _measure(way: str, python: str, quick: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = _write_run(folder, quick)
        log = folder / "training.log"
        command = [python, "-m", "simulations.benchmarks.shared.flower_contender", way]
        usage = run_measured([*command, str(path), str(folder / "out"), str(log)], _QUIET)
        training = [float(line) for line in log.read_text(encoding="ascii").split()]
        result = json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))
    if len(training) != len(result["sites"]) or result["rounds_completed"] != 1:
        raise RuntimeError(f"{way}: {len(training)} sites trained, {result['rounds_completed']} rounds")
    return {
        "total_s": usage.wall_s,
        "training_s": sum(training),
        "outside_s": usage.wall_s - sum(training),
        "cpu_s": usage.cpu_s,
        "peak_mb": usage.peak_mb,
        "processes": usage.processes,
    }


def _write_run(folder: Path, quick: bool) -> Path:
    if quick:
        tiny_config(folder, num_sites=2, num_records=4, rounds=1)
        return folder / "run.toml"
    words = " ".join(["river", "table", "seven", "under", "light"] * TOKENS)
    sites = []
    for i in range(SITES):
        lines = [
            {"instruction": f"{i} {j} {words[:270]}", "response": words} for j in range(BATCH)
        ]  # the response is cut where the record has its 128 tokens
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{i}.jsonl").write_text(text, encoding="utf-8")
        sites.append({"name": f"site{i}", "path": f"{i}.jsonl", "declared_units": BATCH})
    config = {
        "data": {"source": "jsonl", "max_length": TOKENS, "held_out": 0.0},
        "privacy": {"delta": 1e-5},
        "training": {"sampling_rate": 1.0},
        "federation": {"rounds": 1},
        "evaluation": {"records": 0},
        "sites": sites,
    }
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps(config), encoding="utf-8")
    return path


def _medians(figures: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.median([one[key] for one in figures])) for key in figures[0]}
