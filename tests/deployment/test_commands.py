# SPDX-License-Identifier: Apache-2.0
"""``fedpeft init`` and ``fedpeft site`` as a program calls them: exit codes, JSON, one line for an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft.cli import main

MakeSite = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, "".join(capsys.readouterr())


def test_a_coordinators_folder(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "c"
    code, out = call(capsys, "init", "coordinator", folder, "--host", "127.0.0.1", "--json")
    assert code == 0
    assert str(folder / "superlink.sh") in json.loads(out)["files"]


def test_an_organizations_folder(tmp_path: Path, capsys: Capture) -> None:
    arguments = (
        "init",
        "site",
        tmp_path / "s",
        "--identity",
        "st-mary",
        "--superlink",
        "fl.example.org:8000",
    )
    code, out = call(capsys, *arguments)
    assert code == 0
    assert "README.md says what to do next" in out
    code, out = call(capsys, *arguments)
    assert code == 2
    assert "not empty" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "coordinator", "c"),
        ("init", "coordinator", "c", "--host", "a b"),
        ("init", "coordinator", "c", "--host", "h", "--name", "$(id)"),
        ("init", "site", "s", "--identity", "../x", "--superlink", "h:1"),
        ("init", "site", "s", "--identity", "x", "--superlink", "h;id:1"),
    ],
)
def test_what_could_not_stand_in_a_command_is_refused(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out = call(capsys, *arguments)
    assert code == 2
    assert out.startswith("error: ")
    assert out.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_check_says_whether_a_site_is_ready(make_site: MakeSite, capsys: Capture) -> None:
    path = make_site()
    code, out = call(capsys, "site", "check", path, "--one-user-trial", "--json")
    assert code == 0, out
    assert json.loads(out)["ready"]
    path.parent.joinpath("site0.jsonl").unlink()
    code, out = call(capsys, "site", "check", path, "--one-user-trial")
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("MEND")]


def test_a_site_file_that_is_wrong_is_bad_input(make_site: MakeSite, capsys: Capture) -> None:
    for command in ("check", "serve"):
        code, out = call(capsys, "site", command, make_site(privacy={"epsilon": 9.0}))
        assert code == 2
        assert "privacy.epsilon" in out
