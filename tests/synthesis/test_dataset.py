# SPDX-License-Identifier: Apache-2.0
"""Synthetic data and their certificate go together, or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fedpeft.errors import DataError
from fedpeft.privacy.accountant import epsilon
from fedpeft.synthesis.certificate import Certificate, Contribution
from fedpeft.synthesis.dataset import CERTIFICATE_FILE, DATA_FILE, SyntheticDataset, SyntheticRow, is_complete
from fedpeft.types import PrivacyEvent

EVENT = PrivacyEvent("gaussian", 6.0, 1.0, 1, "record")
ROWS = (
    SyntheticRow("t1:0", "Name a colour.", "Red.", "words", "t1"),
    SyntheticRow("t1:1", "Name\u2028a \u00fc\nfruit.", "An apple.", "", "t1"),
)


def certificate(**changes: object) -> Certificate:
    made = Certificate(
        generator="pool",
        run_id="run",
        unit="record",
        epsilon=epsilon([EVENT], 1e-5),
        delta=1e-5,
        data_sha256="",
        contributors={"north": Contribution(500, "run:north:vote", EVENT, "ab")},
        left_out={"south": "policy"},
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SyntheticDataset.certified(ROWS, certificate()).write(tmp_path / "synthetic")
    return tmp_path / "synthetic"


def test_what_was_written_is_read(folder: Path) -> None:
    data = SyntheticDataset.read(folder)
    assert data.rows == ROWS
    assert data.certificate == certificate(data_sha256=data.certificate.data_sha256)
    assert is_complete(folder)


def test_rows_are_lines_of_json(folder: Path) -> None:
    lines = (folder / DATA_FILE).read_text("ascii").split("\n")
    assert [json.loads(line)["lineage"] for line in lines[:-1]] == ["t1", "t1"]
    assert lines[-1] == ""


def test_data_without_a_certificate_are_refused(folder: Path) -> None:
    (folder / CERTIFICATE_FILE).unlink()
    assert not is_complete(folder)
    with pytest.raises(DataError, match="certificate"):
        SyntheticDataset.read(folder)


def test_edited_data_are_refused(folder: Path) -> None:
    path = folder / DATA_FILE
    path.write_text(path.read_text().replace("Red", "Tan"))
    with pytest.raises(DataError, match="SHA-256"):
        SyntheticDataset.read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "\xff"])
def test_a_file_that_is_no_certificate_is_refused(folder: Path, text: str) -> None:
    (folder / CERTIFICATE_FILE).write_text(text, "latin-1")
    with pytest.raises(DataError, match="no certificate"):
        SyntheticDataset.read(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epsilon", -1.0),
        ("delta", 0.0),
        ("epsilon", "4"),
        ("version", 2),
        ("unit", 3),
        ("left_out", {"a": 1}),
    ],
)
def test_a_certificate_is_read_strictly(folder: Path, key: str, value: object) -> None:
    path = folder / CERTIFICATE_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match="no certificate"):
        SyntheticDataset.read(folder)


def test_a_certified_line_that_is_no_row_is_refused(folder: Path) -> None:
    bad = SyntheticDataset.certified((dataclasses.replace(ROWS[0], task=None),), certificate())  # type: ignore[arg-type]
    bad.write(folder)
    with pytest.raises(DataError, match="line 1"):
        SyntheticDataset.read(folder)


def test_the_figures_of_a_certificate_are_recomputed() -> None:
    assert certificate().problems() == []
    assert certificate(contributors={}, epsilon=0.0).problems() == []
    (problem,) = certificate(epsilon=0.1).problems()
    assert "epsilon 0.1" in problem
    (problem,) = certificate(unit="patient").problems()
    assert "north" in problem


SEVERAL = Contribution(
    500, "run:north:1", PrivacyEvent("poisson-gaussian", 2.0, 0.1, 4, "record"), "ab", ("run:north:3",)
)


def test_several_releases_of_a_site_are_named_and_paid_together(folder: Path) -> None:
    cost = epsilon([SEVERAL.event], 1e-5)
    made = certificate(contributors={"north": SEVERAL}, epsilon=cost)
    assert made.problems() == []
    SyntheticDataset.certified(ROWS, made).write(folder)
    assert SyntheticDataset.read(folder).certificate.contributors == {"north": SEVERAL}
    assert SEVERAL.request_ids == ("run:north:1", "run:north:3")
    assert certificate(contributors={"north": SEVERAL}, epsilon=0.99 * cost).problems()


@pytest.mark.parametrize("more", ["run:north:3", [3], ["run:north:1"], ["a", "b", "c", "d"]])
def test_releases_are_named_once_and_are_no_more_than_steps(folder: Path, more: object) -> None:
    SyntheticDataset.certified(ROWS, certificate(contributors={"north": SEVERAL})).write(folder)
    path = folder / CERTIFICATE_FILE
    data = json.loads(path.read_text())
    data["contributors"]["north"]["more"] = more
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="more is not what it must be"):
        SyntheticDataset.read(folder)
