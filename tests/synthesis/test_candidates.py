# SPDX-License-Identifier: Apache-2.0
"""Candidates: from a public file or the bundled templates, each pair once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.candidates import read_candidates
from fedpeft.synthesis.templates import bundled_pool

DATA = DataSettings(source="jsonl", task="task", id="id")


def write(path: Path, *pairs: tuple[str, str]) -> SynthesisSettings:
    rows = [{"id": f"p{i}", "instruction": a, "response": b, "task": "t"} for i, (a, b) in enumerate(pairs)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SynthesisSettings(generator="pool", path=path)


def test_the_default_is_bundled() -> None:
    assert read_candidates(SynthesisSettings(), DATA) == bundled_pool()


def test_a_file_gives_each_pair_once_and_a_lineage_each(tmp_path: Path) -> None:
    settings = write(tmp_path / "pool.jsonl", ("a?", "b"), ("c?", "d"), ("a?", "b"))
    first, second = read_candidates(settings, DATA)
    assert (first.instruction, first.response, first.task) == ("a?", "b", "t")
    assert (first.lineage, second.lineage) == ("pool.jsonl/p0", "pool.jsonl/p1")


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"synthesis\.path"):
        read_candidates(write(tmp_path / "pool.jsonl"), DATA)
    with pytest.raises(DataError, match=r"synthesis\.path"):
        read_candidates(SynthesisSettings(path=tmp_path / "absent.jsonl"), DATA)
