# SPDX-License-Identifier: Apache-2.0
"""The command line: instant help, one line for each error, exit codes, clean JSON."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import fedpeft
from fedpeft.cli import entry, frame, main
from fedpeft.cli.frame import Answer
from fedpeft.errors import BackboneError, LedgerError, UserError

HEAVY = {"torch", "transformers", "flwr", "peft", "pydantic", "numpy", "rich"}


def paths_of_commands() -> list[tuple[str, ...]]:
    """Every command and every command of a group."""
    found: list[tuple[str, ...]] = []
    for name in entry.COMMANDS:
        command = entry._fedpeft.get_command(click.Context(entry._fedpeft), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.fixture
def run_toml(tmp_path: Path) -> str:
    path = tmp_path / "run.toml"
    path.write_text("[privacy]\nepsilon = 2.0\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch):
    """Make a function the command ``fedpeft try``."""

    def offer(function) -> None:
        command = frame.command("try", example="try")(function)
        monkeypatch.setattr(type(entry._fedpeft), "get_command", lambda *_: command)

    return offer


# --- help ----------------------------------------------------------------------------------------------


def test_help_needs_no_heavy_import() -> None:
    """All in one process, so that whatever one of them imports is seen at the end."""
    calls = [[*path, "--help"] for path in [(), *paths_of_commands()]]
    code = (
        "import sys; from fedpeft.cli import main\n"
        f"codes = [main(call) for call in {calls!r}]\n"
        f"sys.exit(repr((set(codes), {HEAVY!r} & sys.modules.keys())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "({0}, set())"


@pytest.mark.parametrize("path", paths_of_commands(), ids=" ".join)
def test_every_command_has_a_full_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"\n  Examples?:\n    fedpeft {path[0]} ?\S*", text)
    if "COMMAND" not in text.splitlines()[0]:
        assert {"--json", "--quiet", "--traceback"} <= set(re.findall(r"--[a-z-]+", text))


@pytest.mark.parametrize("path", paths_of_commands(), ids=" ".join)
def test_the_example_of_a_command_is_a_call_it_understands(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command: click.Command = entry._fedpeft
    for name in path:
        command = command.get_command(click.Context(command), name)  # type: ignore[attr-defined]
    monkeypatch.chdir(tmp_path)
    for line in command.epilog.partition(":")[2].strip().splitlines():
        program, *example = shlex.split(line.split(" > ")[0])
        assert (program, *example[: len(path)]) == ("fedpeft", *path)
        for word in example:  # some commands look whether their file is there
            if "/" in word and "{" not in word:
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        if not isinstance(command, click.Group):
            command.make_context(path[-1], example[len(path) :])


@pytest.mark.parametrize("path", [(), ("config",), ("ledger",), ("site",)], ids=" ".join)
def test_the_list_of_commands_is_cut_nowhere(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    assert len(listed.splitlines()) > 2
    assert not re.search(r"\.\.\.$", listed, re.MULTILINE)


def test_every_file_with_a_command_is_registered() -> None:
    folder = Path(entry.__file__).parent
    defines_command = re.compile(r"^def command\(", re.MULTILINE)
    files = {f.stem for f in folder.glob("*.py") if defines_command.search(f.read_text("utf-8"))}
    assert files - {"frame"} == set(entry.COMMANDS)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedpeft {fedpeft.__version__}\n"


def test_the_package_runs_as_the_script_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedpeft", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fedpeft {fedpeft.__version__}\n"


def test_the_installed_script_ends_with_the_exit_code(run_toml: str) -> None:
    script = Path(sys.executable).with_name("fedpeft")
    for override, code in (("privacy.epsilon=1", 0), ("privacy.epsilon=-1", 2)):
        done = subprocess.run([script, "config", "check", run_toml, "--set", override], capture_output=True)
        assert done.returncode == code


# --- errors and exit codes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (UserError(["one", "two"]), 2, ["error: one", "error: two"]),
        (BackboneError("a\nb"), 2, ["error: a b"]),
        (LedgerError("edited"), 1, ["error: edited (--traceback shows where)"]),
        (RuntimeError("x\n y"), 1, ["error: RuntimeError: x y (--traceback shows where)"]),
        (EOFError("short file"), 1, ["", "error: EOFError: short file (--traceback shows where)"]),
        (KeyboardInterrupt(), 130, ["", "interrupted"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_lines_and_a_code(
    offer, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, lines: list[str]
) -> None:
    def fail() -> Answer:
        raise error

    offer(fail)
    assert main(["try"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == lines


def test_a_traceback_only_when_asked_for(offer, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Answer:
        raise RuntimeError("x")

    offer(fail)
    for arguments, is_shown in ((["try"], False), (["try", "--traceback"], True), (["try"], False)):
        assert main(arguments) == 1
        assert ("Traceback" in capsys.readouterr().err) is is_shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cnofig"], "No such command 'cnofig'"),
        (["config", "check"], "Missing argument 'RUN.toml'"),
        (["config", "check", "a.toml", "--est", "x"], "--est"),
        (["config", "check", "no.toml"], "no.toml: no such file"),
    ],
)
def test_a_wrong_call_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_no_command_shows_the_help_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("Usage: fedpeft")


# --- output --------------------------------------------------------------------------------------------


def test_json_is_alone_on_standard_output(offer, capsys: pytest.CaptureFixture[str]) -> None:
    def chat() -> Answer:
        print("a library says something")
        return Answer({"name": "é"}, "for people", exit_code=1)

    offer(chat)
    assert main(["try", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"name": "é"}
    assert printed.err == "a library says something\n"
    assert main(["try"]) == 1
    assert capsys.readouterr().out == "a library says something\nfor people\n"


def test_what_rich_can_print_is_printed(offer, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    def show() -> Answer:
        table = Table("site", "epsilon")
        table.add_row("north", "2.0")
        return Answer({}, table)

    offer(show)
    assert main(["try"]) == 0
    assert re.search("north.*2.0", capsys.readouterr().out)


# --- config --------------------------------------------------------------------------------------------


def test_check_is_good_with_its_warnings(run_toml: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", run_toml, "--set", "run.seed=3"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("warning: run.seed = 3: ")
    assert last == f"{run_toml}: good, 7 sites"
    assert main(["config", "check", run_toml, "--set", "run.seed=3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"valid": True, "warnings": [first.removeprefix("warning: ")]}


def test_check_names_everything_that_is_wrong(run_toml: str, capsys: pytest.CaptureFixture[str]) -> None:
    sites = 'sites=[{name = "a", path = "a.jsonl", declared_units = 5}]'
    call = ["config", "check", run_toml, "--set", "data.source=jsonl", "--set", sites, "--set", "run.sed=1"]
    assert main(call) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" = ")[0] for line in lines] == ["error: run.sed", "error: sites.a.path"]


def test_show_is_the_resolved_toml(run_toml: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", run_toml, "--set", "sites.scipy.epsilon=1"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["privacy"]["epsilon"] == 2
    assert shown["data"]["root"] == str(tmp_path)
    assert main(["config", "show", run_toml, "--set", "sites.scipy.epsilon=1", "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)
    assert as_json["privacy"] == {**shown["privacy"], "delta": None, "allocation_start": None}
    assert [site["epsilon"] for site in as_json["sites"]] == [None, None, None, 1, None, None, None]


def test_schema_is_json_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    text = capsys.readouterr().out
    assert main(["config", "schema", "--json"]) == 0
    assert capsys.readouterr().out == text
    assert json.loads(text)["additionalProperties"] is False


@pytest.mark.parametrize("of", ["site", "policy"])
def test_schemas_of_what_an_organization_writes(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", "--of", of]) == 0
    found = json.loads(capsys.readouterr().out)
    assert ("site" if of == "site" else "expires") in found["required"]
    assert main(["config", "schema", "--of", of, "--markdown"]) == 2
    assert "--markdown: goes with --of run alone; leave one of them out" in capsys.readouterr().err
