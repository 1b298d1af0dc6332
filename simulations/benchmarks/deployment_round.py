# SPDX-License-Identifier: Apache-2.0
"""Seconds of a round over real processes: SuperLink, superexec, two SuperNodes, TLS, node authentication.

The rounds' training is trivial: two records of a site are expected in a step. A round is from the first
request to the new adapter, as ``rounds.jsonl`` says; the first of a run is left out, the figure is the median
of the others. Resident: both sites are ``fedpeft site serve``, with answers at once (``slot_s = 0``). Loaded
each round: the same SuperNodes without resident sites, so that the process which Flower starts for a message
loads backbone and data itself. The 20 MB adapter has rank 152 on sixteen blocks of width 256, the
small one rank 1.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedpeft.backbone.quiet import quiet
from fedpeft.cache import CACHE_VARIABLE, cache_dir
from fedpeft.testing import tiny_backbone
from simulations.benchmarks.shared.rows import Row
from simulations.deployed.federation import UNITS, Deployment, rounds_of
from simulations.deployed.processes import Processes

ROUNDS: Final = 7
_PATIENCE_S: Final = 900.0
_WIDE_RANK: Final = 152
_SMOL: Final = {"backbone": "smollm2-135m-instruct"}
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "tiny": {"rank": 2},
    "smollm2": {"rank": 2, "model": _SMOL},
    "small_adapter": {"rank": 1, "wide": True},
    "large_adapter": {"rank": _WIDE_RANK, "wide": True},
    "tiny_loaded": {"rank": 2, "resident": False},
    "smollm2_loaded": {"rank": 2, "model": _SMOL, "resident": False},
}
"""What is measured, one deployment each."""


def run(quick: bool = False) -> dict[str, object]:
    """Seconds a round of each way, and the machine's load; ``quick``: the tiny backbone alone, two rounds."""
    if quick:
        return {"tiny": _measure({}, rank=2, rounds=2)}
    return {way: measure(way) for way in WAYS}


def measure(way: str) -> dict[str, object]:
    """One of :data:`WAYS`."""
    given = dict(WAYS[way])
    if given.pop("wide", False):
        with tempfile.TemporaryDirectory() as name:
            backbone = tiny_backbone(num_blocks=16, hidden=256)
            with quiet():
                backbone.model.save_pretrained(name)
            backbone.tokenizer.save_pretrained(name)
            return _measure({"backbone": name}, rounds=ROUNDS, **given)
    return _measure(given.pop("model", {}), rounds=ROUNDS, **given)


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table; of the ways that were measured."""
    found = []
    if "tiny" in result:
        measure = "trivial round over real processes, resident tiny backbone"
        found.append(_row(result["tiny"], measure, "< 10 s", 10.0))
    if "smollm2" in result:
        found.append(_row(result["smollm2"], "the same, resident SmolLM2", "< 10 s", 10.0))
    if {"tiny", "smollm2", "tiny_loaded", "smollm2_loaded"} <= set(result):
        resident = result["smollm2"]["seconds"] - result["tiny"]["seconds"]
        loaded = result["smollm2_loaded"]["seconds"]
        figure = (
            f"{resident:+.1f} s against {loaded - result['tiny_loaded']['seconds']:+.1f} s "
            f"(loaded each round: {loaded:.1f} s)"
        )
        what = "what the larger backbone adds to a round, resident"
        found.append(Row(what, "loaded each round", "", figure, None))
    if {"small_adapter", "large_adapter"} <= set(result):
        small, large = result["small_adapter"], result["large_adapter"]
        added = large["seconds"] - small["seconds"]
        figure = f"{added:.1f} s ({large['seconds']:.1f} against {small['seconds']:.1f} s)"
        what = f"what an adapter of {large['adapter_mb']:.1f} MB adds to a round"
        found.append(Row(what, f"one of {small['adapter_mb']:.2f} MB", "< 5 s", figure, added < 5.0))
    return found


def _row(measured: Mapping[str, Any], measure: str, bar: str, most: float) -> Row:
    low, high = min(measured["rounds"]), max(measured["rounds"])
    figure = f"{measured['seconds']:.1f} s (of {len(measured['rounds'])} rounds: {low:.1f} to {high:.1f} s)"
    return Row(measure, "", bar, figure, measured["seconds"] < most)


def _measure(model: Mapping[str, str], *, rank: int, rounds: int, resident: bool = True) -> dict[str, object]:
    os.environ[CACHE_VARIABLE] = str(cache_dir())  # the processes have homes of their own
    with tempfile.TemporaryDirectory(prefix="fp", dir="/tmp") as name, Processes(Path(name)) as processes:
        deployment = Deployment.make(Path(name), processes, rank=rank, **model)
        deployment.write_run(
            {"federation": {"rounds": rounds, "deadline_s": 600.0}, "training": {"sampling_rate": 2 / UNITS}}
        )
        if resident:
            deployment.start()
        else:
            _start_without_sites(deployment)
        out = deployment.begin("out")
        deployment.finish(out, patience_s=_PATIENCE_S, idle_s=120.0)
        records = rounds_of(out)
    seconds = [sum(record["seconds"].values()) for record in records[1:]]
    size_mb = records[0]["bytes_up"] / len(records[0]["answered"]) / 1e6
    load = os.getloadavg()[1]
    return {"seconds": statistics.median(seconds), "rounds": seconds, "adapter_mb": size_mb, "load": load}


def _start_without_sites(deployment: Deployment) -> None:
    """Nodes that open the run's data themselves, as those of a simulation do."""
    changes: dict[str, Any] = {"source": "jsonl", "root": str(deployment.place), "task": "task", "id": "id"}
    deployment.write_run({"data": changes, "evaluation": {"records": 0}}, with_records=True)
    deployment.start_coordinator()
    for i, organization in enumerate(deployment.organizations):
        node = organization.folder / "courier" / "node.sh"
        socket = f'site-socket="{organization.socket}"'
        node.write_text(node.read_text().replace(socket, f"partition-id={i} num-partitions=2"))
        deployment.register(organization)
        deployment.start_node(organization)
