# SPDX-License-Identifier: Apache-2.0
"""A whole federation, small enough for a test: real Flower apps, real ledgers, a tiny backbone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from fedpeft.backbone.quiet import quiet
from fedpeft.config import RunConfig, load_config
from fedpeft.flower.simulation import simulate
from fedpeft.testing.tiny import tiny_backbone
from fedpeft.types import JsonDict

_TASKS = ("colour", "size", "place", "use")
_WORDS = ("red", "small", "here", "cup", "green", "large", "there", "lamp", "blue", "tiny", "far", "door")


def write_records(path: Path, num_records: int, *, seed: int = 0, units: int | None = None) -> None:
    """Write a jsonl file of records with ``instruction``, ``response``, ``task``, ``owner`` and ``id``.

    Args:
        path: of the file.
        num_records: lines.
        seed: another seed gives other records.
        units: number of distinct ``owner`` values; default: one for each record.
    """
    lines = []
    for i in range(num_records):
        words = [_WORDS[(i * step + seed * 5 + step) % len(_WORDS)] for step in (1, 5, 7)]
        record = {
            "id": f"{seed}-{i}",
            "owner": f"{seed}-{i % (units or num_records)}",
            "task": _TASKS[i % len(_TASKS)],
            "instruction": f"Say the {_TASKS[i % len(_TASKS)]} of thing {i}.",
            "response": " ".join(words[: 1 + i % 3]),
        }
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def tiny_config(
    folder: Path, *, num_sites: int = 2, num_records: int = 40, rounds: int = 2, overrides: Sequence[str] = ()
) -> RunConfig:
    """Write backbone, data and ``run.toml`` into ``folder`` and read the configuration.

    Args:
        folder: made if absent.
        num_sites: organizations, ``site0``, ``site1``, ...
        num_records: of each.
        rounds: of the run.
        overrides: as on the command line, ``["privacy.epsilon=2"]``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backbone = tiny_backbone()
    with quiet():
        backbone.model.save_pretrained(str(folder / "backbone"))
    backbone.tokenizer.save_pretrained(str(folder / "backbone"))
    sites = []
    for i in range(num_sites):
        write_records(folder / f"site{i}.jsonl", num_records, seed=i)
        sites.append({"name": f"site{i}", "path": f"site{i}.jsonl", "declared_units": num_records})
    config = {
        "model": {"backbone": str((folder / "backbone").resolve())},
        "adapter": {"rank": 2},
        # A root of its own: FEDPEFT_DATA_ROOT, where it is set, names a folder of other data.
        "data": {
            "source": "jsonl",
            "root": str(folder.resolve()),
            "task": "task",
            "id": "id",
            "max_length": 64,
        },
        "privacy": {"delta": 1e-5},
        "training": {"sampling_rate": 0.5},
        "federation": {"rounds": rounds},
        "evaluation": {"public": True, "records": 8},
        "run": {"threads": 1},
        "sites": sites,
    }
    path = folder / "run.toml"
    path.write_text(tomli_w.dumps(config), encoding="utf-8")
    return load_config(path, overrides)


def run_tiny_federation(
    folder: Path, *, num_sites: int = 2, num_records: int = 40, rounds: int = 2, overrides: Sequence[str] = ()
) -> JsonDict:
    """Train over a few tiny organizations in this process; the run's files are in ``folder/run``.

    Args:
        folder: as are the other arguments, of :func:`tiny_config`.
        num_sites: organizations.
        num_records: of each.
        rounds: of the run.
        overrides: as on the command line.

    Returns:
        What ``result.json`` holds.
    """
    config = tiny_config(
        folder, num_sites=num_sites, num_records=num_records, rounds=rounds, overrides=overrides
    )
    return simulate(config, folder / "run")
