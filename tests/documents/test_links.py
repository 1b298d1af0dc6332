# SPDX-License-Identifier: Apache-2.0
"""What the documents tell a reader to write or to call is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from fedpeft.cli.entry import _fedpeft
from fedpeft.config import load_config
from fedpeft.testing import write_records

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "simulations" / "README.md"]
VIRTUAL = {"measured.md", "../measured.md", "contributing.md"}
"""Pages of the site that are made of files outside ``docs``."""


def test_the_readmes_configuration_is_a_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "run.toml").write_text(block, encoding="utf-8")
    for name in ("north", "south"):
        write_records(tmp_path / f"{name}.jsonl", 4)
    config = load_config(tmp_path / "run.toml", files_must_exist=True)
    assert config.declared_units == {"north": 2000, "south": 3000}


@pytest.mark.parametrize("name", ["quickstart", "medquad", "medquad-subject"])
def test_shipped_runs_are_sound(name: str, tmp_path: Path) -> None:
    config = load_config(ROOT / "simulations" / f"{name}.toml", [f'data.root="{tmp_path}"'])
    assert config.privacy.epsilon == 8.0
    assert config.delta == 1e-5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_that_are_named_exist(document: Path) -> None:
    context = click.Context(_fedpeft)
    for line in re.findall(r"(?:^|`)fedpeft ([a-z]+(?: [a-z]+)?)", document.read_text("utf-8"), re.MULTILINE):
        name, _, word = line.partition(" ")
        command = _fedpeft.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group) and word:
            assert word in command.commands


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text("utf-8")):
        if "://" not in target and target not in VIRTUAL:
            assert (document.parent / target).exists(), target
