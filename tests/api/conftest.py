# SPDX-License-Identifier: Apache-2.0
"""A folder in which every example of a docstring or a document can be tried."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import fedpeft
from fedpeft.testing import tiny_config, write_records


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny ``run.toml``, its data and backbone, and a finished run in ``runs/earlier``."""
    folder = tmp_path_factory.mktemp("api")
    tiny_config(folder)
    write_records(folder / "test.jsonl", 8, seed=9)
    fedpeft.simulate(folder / "run.toml", folder / "runs" / "earlier")
    return folder


@pytest.fixture
def workplace(earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``earlier`` that is the working directory."""
    shutil.copytree(earlier, tmp_path / "workplace")
    monkeypatch.chdir(tmp_path / "workplace")
    return tmp_path / "workplace"
