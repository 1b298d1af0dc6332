# SPDX-License-Identifier: Apache-2.0
"""What every command does alike: silence, colours, and no import that it does not need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedpeft.cli import entry, frame, main
from fedpeft.cli.frame import Answer
from fedpeft.cli.progress import showing_progress
from fedpeft.errors import UserError

HEAVY = {"torch", "transformers", "flwr", "peft"}
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]")


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch):
    """Make a function the command ``fedpeft try``."""

    def offer(function) -> None:
        made = frame.command("try", example="try")(function)
        monkeypatch.setattr(type(entry._fedpeft), "get_command", lambda *_: made)

    return offer


def work() -> Answer:
    """Take a while, and find something wrong."""
    with showing_progress() as progress:
        progress.stage("a stage", 1, 2)
        record = {"refused": {}, "dropped": {}, "missing": [], "answered": [1], "seconds": {"train": 1.0}}
        progress.round_done(1, 2, record, 3.0)
    return Answer({"found": 1}, "for people", exit_code=1)


def test_quiet_leaves_neither_text_nor_progress(offer, capsys: pytest.CaptureFixture[str]) -> None:
    offer(work)
    assert main(["try"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "for people\n"
    assert "round 1/2" in printed.err  # the control: there is something to be quiet about
    for switch in ("--quiet", "-q"):
        assert main(["try", switch]) == 1
        assert capsys.readouterr() == ("", "")
    assert main(["try", "--quiet", "--json"]) == 1
    printed = capsys.readouterr()
    assert (json.loads(printed.out), printed.err) == ({"found": 1}, "")


def test_quiet_says_what_is_wrong(offer, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Answer:
        raise UserError("wrong")

    offer(fail)
    assert main(["try", "--quiet"]) == 2
    assert capsys.readouterr() == ("", "error: wrong\n")


def test_colours_are_left_out_where_they_are_not_wanted(
    offer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.text import Text

    offer(lambda: Answer({}, Text("red", style="red")))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(["try"]) == 0
    assert COLOUR.search(capsys.readouterr().out)  # the control: a terminal would show them
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["try"]) == 0
    assert capsys.readouterr().out == "red\n"


def test_what_reads_configurations_alone_loads_no_tensor_library(tmp_path: Path) -> None:
    run = str(tmp_path / "run.toml")
    calls = [
        ["new", run, "--yes", "--units", "50"],
        [
            "config",
            "check",
            run,
            "--set",
            "data.source=docstrings",
            "--set",
            "sites=[{name='a',package='x'}]",
        ],
        ["config", "show", run],
        ["config", "schema"],
        ["config", "schema", "--markdown"],
        ["completion", "zsh"],
    ]
    code = (
        "import sys; from fedpeft.cli import main\n"
        f"codes = [main(call) for call in {calls!r}]\n"
        f"sys.exit(repr((codes, {HEAVY!r} & sys.modules.keys())))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "FEDPEFT_DATA_ROOT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stderr.strip().splitlines()[-1] == f"({[0] * len(calls)}, set())"
