# SPDX-License-Identifier: Apache-2.0
"""A results file holds whole lines only, whatever happened while one was written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fedpeft.errors import DataError, RunDirectoryError
from fedpeft.evaluation import Scores
from simulations.grid.results import opened, pack_scores, read_lines, unpack_scores


def test_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    with opened(path) as results:
        results.append({"a": "é"})
        results.append({"a": 2})
    with opened(path) as results:
        assert results.lines == [{"a": "é"}, {"a": 2}]


@pytest.mark.parametrize("length", range(1, 12))
def test_a_torn_last_line_is_cut_off_and_the_next_is_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b'{"a": 22222}\n'[:length])
    assert read_lines(path) == [{"a": 1}]
    with opened(path) as results:
        results.append({"a": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"a":3}\n'


def test_a_file_that_is_one_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a"')
    with opened(path) as results:
        assert results.lines == []
    assert path.read_bytes() == b""


def test_an_edited_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = b'{"a": 1}\n{"a"\n{"a": 3}\n'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jsonl:2"), opened(path):
        pass
    assert path.read_bytes() == content


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, calls = tmp_path / "a.jsonl", os.write, []

    def half_then_full(handle: int, data: bytes) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:3])

    with opened(path) as results:
        results.append({"a": 1})
        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(RunDirectoryError, match="No space left"):
            results.append({"a": 2})
    assert len(calls) == 2
    assert path.read_bytes() == b'{"a":1}\n'


def test_two_processes_do_not_run_one_experiment(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with opened(path), pytest.raises(RunDirectoryError, match="another process"), opened(path):
        pass


def test_scores_come_back() -> None:
    scores = Scores(
        ids=("a", "b", "c"),
        num_tokens=np.array([1, 2, 3]),
        num_correct=np.array([0, 2, 1]),
        log_likelihood=np.array([-1.23456, -np.inf, np.nan]),
        is_ranked=np.array([True, True, False]),
        is_first=np.array([True, False, False]),
    )
    found = unpack_scores(pack_scores(scores))
    for name in ("num_tokens", "num_correct", "is_ranked", "is_first"):
        np.testing.assert_array_equal(getattr(found, name), getattr(scores, name))
    np.testing.assert_allclose(found.log_likelihood, scores.log_likelihood, atol=1e-4)
    assert "a" not in found.ids
    assert found.ids == unpack_scores(pack_scores(scores)).ids
