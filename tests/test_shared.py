# SPDX-License-Identifier: Apache-2.0
"""Runs of one process share exactly what each would have made alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpeft import run as run_module
from fedpeft import workspace as workspace_module
from fedpeft.checkpoint import load
from fedpeft.flower.simulation import simulate
from fedpeft.shared import Shared, content_digest
from fedpeft.testing import tiny_config, write_records


def test_the_same_facts_are_made_once_and_others_anew() -> None:
    shared, made = Shared(), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [shared.once("a", ("x", 1), make) for _ in range(3)] == [1, 1, 1]
    assert shared.once("a", ("x", 2), make) == 2
    assert shared.once("b", ("x", 1), make) == 3


def test_what_raised_is_tried_again() -> None:
    shared = Shared()
    with pytest.raises(ZeroDivisionError):
        shared.once("a", 0, lambda: 1 // 0)
    assert shared.once("a", 0, lambda: 5) == 5


def test_only_what_was_used_last_is_kept() -> None:
    shared = Shared()
    for i in range(4):
        shared.keep("a", i, i)
    assert shared.once("a", 0, lambda: -1) == 0
    shared.keep("a", 9, 9)
    assert [shared.once("a", i, lambda: -1) for i in (0, 9, 3, 2)] == [0, 9, 3, 2]
    assert shared.once("a", 1, lambda: -1) == -1


def test_a_digest_tells_parts_from_each_other() -> None:
    assert content_digest(["ab", "c"]) != content_digest(["a", "bc"])
    assert content_digest([1]) != content_digest(["1"])


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was really done: sites encoded, evaluations made."""
    done: list[str] = []
    encode, evaluate = workspace_module.encode_site, run_module.evaluate

    def counted_encode(name: str, *arguments: object) -> object:
        done.append(name)
        return encode(name, *arguments)

    def counted_evaluate(*arguments: object, **keywords: object) -> object:
        done.append("evaluate")
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(workspace_module, "encode_site", counted_encode)
    monkeypatch.setattr(run_module, "evaluate", counted_evaluate)
    return done


def test_runs_share_and_find_what_they_would_have_found_alone(tmp_path: Path, work: list[str]) -> None:
    shared, found = Shared(), []
    for name, sharing in (("one", None), ("two", shared), ("three", shared)):
        config = tiny_config(tmp_path, overrides=["run.seed=1"])
        found.append(simulate(config, tmp_path / name, shared=sharing)["metrics"])
    assert found[0] == found[1] == found[2]
    states = [load(tmp_path / name / "checkpoint").adapter for name in ("one", "two", "three")]
    np.testing.assert_array_equal(states[0], states[2])
    whole = ["site0", "site1", "evaluate", "evaluate"]
    assert work == whole + whole + ["evaluate"]


@pytest.mark.parametrize("change", ["data.max_length=32", "data.held_out=0.3", "records"])
def test_other_data_are_not_shared(tmp_path: Path, work: list[str], change: str) -> None:
    shared = Shared()
    simulate(tiny_config(tmp_path), tmp_path / "one", shared=shared)
    config = tiny_config(tmp_path, overrides=[] if change == "records" else [change])
    if change == "records":
        write_records(tmp_path / "site0.jsonl", 40, seed=7)
        shared = _without_files(shared)
    del work[:]
    simulate(config, tmp_path / "two", shared=shared)
    assert work.count("evaluate") == 2
    assert "site0" in work


def test_scores_against_labels_are_not_those_against_a_task(tmp_path: Path, work: list[str]) -> None:
    shared = Shared()
    simulate(tiny_config(tmp_path), tmp_path / "one", shared=shared)
    lines = [line for site in tmp_path.glob("*.jsonl") for line in site.read_text("utf-8").splitlines()]
    labels = json.dumps(sorted({json.loads(line)["response"] for line in lines}))
    del work[:]
    config = tiny_config(tmp_path, overrides=[f"evaluation.labels={labels}"])
    simulate(config, tmp_path / "two", shared=shared)
    assert work == ["evaluate", "evaluate"]  # the data are the same


def _without_files(shared: Shared) -> Shared:
    """As a new process with the same memory of content would find it: files are read again."""
    shared._made.pop("records")
    return shared


def test_the_scores_of_single_records_are_their_owners(tmp_path: Path) -> None:
    result = simulate(tiny_config(tmp_path), tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / "scores.json"
    assert path.stat().st_mode & 0o077 == 0
    assert len(json.loads(path.read_text())["after"]["num_tokens"]) == result["metrics"]["records"]
