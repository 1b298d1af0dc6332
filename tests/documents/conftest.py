# SPDX-License-Identifier: Apache-2.0
"""A folder like that of somebody who follows the documents, with a tiny backbone in it; and their site."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedpeft
from fedpeft.testing import tiny_config, write_records
from tests.documents.blocks import ROOT


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, backbone, runs' TOMLs, a complete run, and one that was interrupted before its first round."""
    folder = tmp_path_factory.mktemp("documents")
    config = tiny_config(folder, rounds=1, overrides=["privacy.epsilon=2.0", "evaluation.records=4"])
    (folder / "run.toml").write_text(fedpeft.to_toml(config).replace(str(folder), "."), encoding="utf-8")
    (folder / "simulations").mkdir()
    quickstart = fedpeft.to_toml(config)
    (folder / "simulations" / "quickstart.toml").write_text(quickstart, encoding="utf-8")
    for seed, name in enumerate(("north", "south", "test")):
        write_records(folder / f"{name}.jsonl", 20, seed=5 + seed)
    _write_public(folder / "public.jsonl")
    with pytest.raises(_Interrupted):
        fedpeft.simulate(config, folder / "runs" / "interrupted", observer=_Interrupting())
    fedpeft.simulate(config, folder / "runs" / "first")
    return folder


def _write_public(path: Path) -> None:
    """Rows that are all of different origin, as many as trials need."""
    words = [f"{a}{b}{c}" for a in "bdfglm" for b in "aeiou" for c in "kprst"]
    rows = [{"instruction": f"Spell {w} {w[::-1]}.", "response": " ".join(w), "task": "spell"} for w in words]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder that is the working directory."""
    shutil.copytree(prepared, tmp_path / "workplace")
    monkeypatch.chdir(tmp_path / "workplace")
    monkeypatch.delenv("FEDPEFT_DATA_ROOT", raising=False)
    return tmp_path / "workplace"


class _Interrupted(Exception):  # noqa: N818 - what a test raises
    """Ends a run from outside."""


class _Interrupting:
    """Ends a run before its first round."""

    def evaluating(self, *_: object) -> None:
        """Go no further."""
        raise _Interrupted

    round_done = site_step = stage = evaluated = evaluating


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site of the documents; whoever asks for it has looked that mkdocs is installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    nowhere = "http://127.0.0.1:9"
    environment = os.environ | {"http_proxy": nowhere, "https_proxy": nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder
