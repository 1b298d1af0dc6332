# SPDX-License-Identifier: Apache-2.0
"""Figures of synthetic data that can be checked, and that are made of simulations alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpeft.data.records import Record
from fedpeft.flower.simulation import synthesize
from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.testing import tiny_config, write_records
from simulations import synthetic_quality as program
from simulations.synthetic_quality import (
    duplicates,
    longest_shared,
    marginals,
    mean_distance,
    overlaps,
    shares,
)


def row(instruction: str, response: str = "yes", task: str = "") -> SyntheticRow:
    return SyntheticRow(instruction, instruction, response, task, instruction)


def record(instruction: str, response: str = "yes", task: str = "") -> Record:
    return Record(instruction, instruction, instruction, response, task)


def test_shares_and_their_distance() -> None:
    assert shares(["a", "b", "a", "a"]) == {"a": 0.75, "b": 0.25}
    two = [row("1", task="a"), row("2", task="b")]
    same = marginals(two, [record("3", task="b"), record("4", task="a")], [row("5", task="c")])
    assert (same["total_variation"], same["total_variation_of_pool"]) == (0, 1)
    apart = marginals([row("1", task="a")], [record("2", task="b")], two)
    assert (apart["total_variation"], apart["shared_names"]) == (1, [])
    half = marginals(two, [record("3", task="a")], two)
    assert half["total_variation"] == half["total_variation_of_pool"] == pytest.approx(0.5)


def test_the_longest_shared_run_of_words() -> None:
    texts = [["a", "b", "c", "d"], ["x"]]
    assert longest_shared(texts, [["z", "b", "c", "q"]]) == 2
    assert longest_shared(texts, [["b", "x", "c"]]) == 1
    assert longest_shared(texts, texts) == 4
    assert longest_shared(texts, [["q"]]) == longest_shared([], texts) == longest_shared(texts, []) == 0


def test_a_copied_record_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    private = [record("the patient in room nine said that her knee hurts"), record("something else")]
    public = [record("how are you today")]
    clean = overlaps([row("how is the weather")], private, public)
    leaking = overlaps([row("He wrote: the patient in room nine said that")], private, public)
    assert clean["synthetic_words"] <= 2
    assert leaking["synthetic_words"] == 7
    assert leaking["public_words"] == clean["public_words"]


def test_duplicates() -> None:
    rows = [row(f"boil two eggs for breakfast{end}") for end in ("", " ")] + [row("sort these numbers")]
    found = duplicates([*rows, rows[0]], [record("the sea is blue in the summer")])
    assert found["exact"] == pytest.approx(1 / 4)
    assert found["near"] == pytest.approx(2 / 4)
    assert found["near_public"] == 0
    assert duplicates(rows, [record("sort these numbers")])["near_public"] == pytest.approx(1 / 3)


def test_distance_of_means() -> None:
    assert mean_distance(np.array([[0.0, 0], [2, 0]]), np.array([[1.0, 3]])) == pytest.approx(3)


def test_the_program_measures_a_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["synthesis.generator=public", "synthesis.size=30", 'evaluation.path="public.jsonl"']
    config = tiny_config(tmp_path, num_records=12, overrides=overrides)
    write_records(tmp_path / "public.jsonl", 12, seed=9)
    synthesize(config, tmp_path / "run")
    assert program.main([str(tmp_path / "run"), "--name", "mine"], tmp_path / "results") == 0
    found = json.loads((tmp_path / "results" / "mine.json").read_text())
    assert found["privacy"].startswith("NOT PRIVATE")
    assert found["rows"] == 30
    assert found["private_records"] == 24
    assert found["distance"]["private"] < found["distance"]["synthetic"]
    assert found["overlap"]["public_words"] > found["overlap"]["synthetic_words"]


def test_organizations_records_are_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path)
    deployed = config.model_copy(update={"data": config.data.model_copy(update={"source": "sites"})})
    monkeypatch.setattr(program, "open_run", lambda _: (deployed, None))
    monkeypatch.setattr(program, "read_sources", lambda _: pytest.fail("records were read"))
    assert program.main([str(tmp_path)], tmp_path / "results") == 2
    assert "organizations' own records" in capsys.readouterr().err


def test_public_records_are_needed_and_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path, overrides=["synthesis.generator=public", "synthesis.size=20"])
    synthesize(config, tmp_path / "run")
    assert program.main([str(tmp_path / "run")], tmp_path / "results") == 2
    assert "evaluation.path" in capsys.readouterr().err
    assert program.main([str(tmp_path / "none")], tmp_path / "results") == 2
