# SPDX-License-Identifier: Apache-2.0
"""Hundreds of rounds over real processes, the memory of each sampled: does anything grow?

    python -m simulations.soak [--rounds 300] [--folder DIR] [--out simulations/results/soak.json]

SuperLink, superexec, ServerApp, two SuperNodes, two resident sites with TLS, the tiny backbone. After every
few rounds the proportional set size (PSS) of each process that lives on is noted, with the size of the
SuperLink's database and of the ledgers. Growth is the slope of a straight line through the second half of the
samples, times the rounds of a soak. With ``--folder``, a soak that was interrupted goes on where it was: the
same run is resumed, and new samples join the old ones.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from fedpeft.types import JsonDict
from simulations.benchmarks.shared.measure import machine
from simulations.benchmarks.shared.memory import pss_mb
from simulations.deployed.federation import Deployment, rounds_of
from simulations.deployed.processes import Processes

EVERY: Final = 5
MOST_GROWTH_MB: Final = 20.0
"""Of a process over all rounds, for it to count as flat."""
_FEWEST: Final = 5  # samples that a line is laid through; with fewer nothing is called flat
_PATIENCE_S: Final = 6 * 3600.0
_RESULT: Final = Path(__file__).resolve().parent / "results" / "soak.json"


def main() -> int:
    """Parse, run, write, tell whether memory is flat."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="kept, to go on with; its path must be short")
    parser.add_argument("--out", type=Path, default=_RESULT)
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        result = soak(arguments.folder.absolute(), arguments.rounds)
    else:
        with tempfile.TemporaryDirectory(prefix="fp", dir="/tmp") as name:
            result = soak(Path(name), arguments.rounds)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("rounds", "ended", "growth_mb", "last_mb", "flat")}))
    return 0 if result["flat"] else 1


def soak(folder: Path, rounds: int) -> JsonDict:
    """Run so many rounds in ``folder``, or what is left of them."""
    samples_file, since = folder / "samples.jsonl", time.monotonic()
    is_new = not (folder / "c").exists()
    with Processes(folder) as processes:
        if is_new:
            deployment = Deployment.make(folder, processes)
            changes = {"rounds": rounds, "deadline_s": 300.0}
            deployment.write_run({"federation": changes, "training": {"sampling_rate": 0.05}})
        else:
            deployment = Deployment.found(folder, processes)
        deployment.start(register=is_new)
        out = folder / "out"
        if is_new:
            deployment.begin("out")
        elif not (out / "result.json").exists():
            deployment.resume(out)
        watch = _Watch(deployment, out, samples_file)
        deployment.finish(out, patience_s=_PATIENCE_S, idle_s=60.0, meanwhile=watch.look)
    samples = [json.loads(line) for line in samples_file.read_text("utf-8").splitlines()]
    result = json.loads((out / "result.json").read_text("utf-8"))
    growth, last = _growth(samples, rounds)
    return {
        "machine": machine(),
        "rounds": result["rounds_completed"],
        "ended": result["stopped_because"],
        "seconds": time.monotonic() - since,
        "seconds_a_round": float(np.median([sum(r["seconds"].values()) for r in rounds_of(out)])),
        "growth_mb": growth,
        "last_mb": last,
        "flat": bool(growth) and all(value <= MOST_GROWTH_MB for value in growth.values()),
        "samples": samples,
    }


class _Watch:
    """Adds a line after every few rounds."""

    def __init__(self, deployment: Deployment, out: Path, path: Path) -> None:
        self._deployment, self._out, self._path = deployment, out, path
        self._done = len(rounds_of(out))
        self._life = time.time()

    def look(self) -> None:
        number = len(rounds_of(self._out))
        if number < self._done + EVERY:
            return
        self._done = number
        line = {"round": number, "life": self._life, **_now(self._deployment)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _now(deployment: Deployment) -> JsonDict:
    """Of every process that outlives a message, by what it is; of a kind twice, both."""
    found: dict[str, float] = {}
    for name, pid in deployment.lasting().items():
        with suppress(OSError):  # it has ended meanwhile
            found[name] = round(pss_mb(pid), 2)
    database = (deployment.place / "c/state.db").stat().st_size / 1e6
    ledgers = sum(one.ledger.stat().st_size for one in deployment.organizations) / 1e6
    return {"pss_mb": found, "database_mb": round(database, 2), "ledgers_mb": round(ledgers, 3)}


def _growth(samples: list[JsonDict], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """MB over all rounds by process, from the second half of what its newest life shows; and the last PSS."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    newest = samples[-1]["life"] if samples else 0
    for sample in samples:
        if sample["life"] == newest:  # a resumed soak has new processes
            for name, value in sample["pss_mb"].items():
                series[name].append((sample["round"], value))
    growth = {}
    for name, points in series.items():
        x, y = np.array(points[len(points) // 2 :], dtype=np.float64).T
        if len(x) >= _FEWEST:
            growth[name] = round(float(np.polyfit(x, y, 1)[0]) * rounds, 2)
    return growth, {name: points[-1][1] for name, points in series.items()}


if __name__ == "__main__":
    sys.exit(main())
