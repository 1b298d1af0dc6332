# SPDX-License-Identifier: Apache-2.0
"""Whole runs over a partition, with raw prompts and labels, and over data that the calling program holds."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import datasets
import pytest
import tomli_w

from fedpeft.config import RunConfig, load_config
from fedpeft.errors import DataError
from fedpeft.flower.simulation import resume, simulate
from fedpeft.reporter import Silence
from fedpeft.run_sources import read_sources
from fedpeft.testing import tiny_config

ROWS = [
    {"id": str(n), "text": f"thing {n}", "label": ("good", "bad")[n % 2], "task": f"t{n % 3}"}
    for n in range(60)
]
DATA = {
    "prompt": "It is {text}. Verdict:",
    "response": "label",
    "chat_template": False,
    "end_of_turn": False,
    "partition": {"kind": "dirichlet", "path": "all.jsonl", "parts": 3, "declared_units": 60},
}


def _configure(folder: Path, **data: object) -> RunConfig:
    """The tiny run over one table that a partition splits."""
    tiny_config(folder, num_sites=1)
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    tables = tomllib.loads((folder / "run.toml").read_text("utf-8"))
    del tables["sites"]
    tables["data"] |= DATA | data
    tables["evaluation"]["labels"] = ["good", "bad"]
    (folder / "run.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    return load_config(folder / "run.toml")


class _KilledError(BaseException):
    """What no handler of an application takes."""


class _Killer(Silence):
    """Ends a run after its first round."""

    def round_done(self, number: int, rounds: int, record: object, epsilon_spent: float) -> None:
        raise _KilledError

    def stage(self, label: str, done: int, total: int) -> None:
        pass

    def site_step(self, site: str, step: object) -> None:
        """Say nothing."""


def test_a_partition_with_labels_runs_and_resumes(tmp_path: Path) -> None:
    with pytest.raises(_KilledError):
        simulate(_configure(tmp_path), tmp_path / "run", _Killer())
    result = resume(tmp_path / "run")  # its configuration, with parts and sites, is read back
    assert result["rounds_completed"] == 2
    assert result["sites"] == ["part0", "part1", "part2"]
    assert result["data"] == {"source": "jsonl", "partition": {"kind": "dirichlet", "seed": 0}}
    metrics = result["metrics"]
    assert metrics["labels"] == ["good", "bad"]
    assert metrics["ranked_records"] == metrics["records"] > 0


def test_another_response_than_the_labels_stops_before_anything_is_spent(tmp_path: Path) -> None:
    config = _configure(tmp_path, response="text")
    with pytest.raises(DataError, match=r"^evaluation\.labels: "):
        simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_objects_of_the_program_are_given_again_to_resume(tmp_path: Path) -> None:
    partition = {"kind": "iid", "parts": 3, "declared_units": 60}
    config = _configure(tmp_path, source="python", partition=partition)
    sources = read_sources(config, datasets={"data.partition": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(_KilledError):
        simulate(config, tmp_path / "run", _Killer(), sources=sources)
    with pytest.raises(DataError, match=r'data\.source = "python"'):
        resume(tmp_path / "run")
    assert resume(tmp_path / "run", sources=sources)["rounds_completed"] == 2
