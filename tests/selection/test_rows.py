# SPDX-License-Identifier: Apache-2.0
"""Rows to choose by are public, or come with a certificate that says what they cost; nothing else is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedpeft.config import load_config
from fedpeft.errors import ConfigError, DataError
from fedpeft.layer_choice import read_split
from fedpeft.selection.rows import read_rows
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.candidates import read_candidates
from fedpeft.synthesis.dataset import DATA_FILE, SyntheticDataset
from fedpeft.testing import tiny_config
from fedpeft.types import SEEDED_PREFIX
from tests.synthesis.test_dataset import ROWS, certificate

DATA = DataSettings(source="jsonl", task="task", id="id")


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    SyntheticDataset.certified(ROWS, certificate()).write(tmp_path / "synthetic")
    return tmp_path / "synthetic"


def test_a_folder_brings_what_its_rows_cost(synthetic: Path) -> None:
    facts = read_rows(synthetic, DATA, None).facts
    assert facts["source"] == "synthetic"
    assert (facts["epsilon"], facts["delta"]) == (certificate().epsilon, 1e-5)


def test_rows_cannot_shed_their_certificate(synthetic: Path) -> None:
    with pytest.raises(DataError, match=r"selection\.data: .* certificate beside it"):
        read_rows(synthetic / DATA_FILE, DATA, None)
    with pytest.raises(DataError, match=r"synthesis\.path: .* certificate beside it"):
        read_candidates(SynthesisSettings(generator="public", path=synthetic / DATA_FILE), DATA)


def test_rows_of_a_seeded_run_are_for_seeded_runs(tmp_path: Path) -> None:
    seeded = certificate(run_id=f"{SEEDED_PREFIX}1")
    SyntheticDataset.certified(ROWS, seeded).write(tmp_path / "seeded")
    with pytest.raises(DataError, match=r"run\.seed"):
        read_rows(tmp_path / "seeded", DATA, None)
    assert len(read_rows(tmp_path / "seeded", DATA, None, seeded=True).records) == 2


@pytest.mark.parametrize("name", ["site0.jsonl", "hard.jsonl", "soft.jsonl"])
def test_what_a_site_trains_on_is_not_public(tmp_path: Path, name: str) -> None:
    config = tiny_config(tmp_path)
    os.link(tmp_path / "site0.jsonl", tmp_path / "hard.jsonl")
    (tmp_path / "soft.jsonl").symlink_to("site0.jsonl")
    with pytest.raises(ConfigError, match=r"selection\.data = .*site site0 trains on"):
        load_config(tmp_path / "run.toml", [f'selection.data="{name}"'])
    with pytest.raises(ConfigError, match=r"sites\.site0 trains on"):
        read_split(config, tmp_path / name)
