# SPDX-License-Identifier: Apache-2.0
"""The pages that are made from the program say what the program says; ``make reference`` writes them anew."""

from __future__ import annotations

import importlib.util
import re

from fedpeft.cli.entry import COMMANDS
from fedpeft.config.reference import reference
from tests.documents.blocks import ROOT

PAGES = ROOT / "docs" / "reference"


def commands_page() -> str:
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


def test_the_page_of_all_keys_is_in_step() -> None:
    assert (PAGES / "configuration.md").read_text("utf-8").rstrip() == reference().rstrip()


def test_the_page_of_all_commands_is_in_step() -> None:
    assert (PAGES / "commands.md").read_text("utf-8") == commands_page()


def test_every_command_is_on_its_page() -> None:
    told = set(re.findall(r"^## `fedpeft (\S+?)[` ]", commands_page(), re.MULTILINE))
    assert told == set(COMMANDS)
