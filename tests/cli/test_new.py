# SPDX-License-Identifier: Apache-2.0
"""``fedpeft new``: five answers become a TOML that is right, and whose comments are true."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

from fedpeft.cli import main
from fedpeft.config import load_config

ALL = ["--sites", "north,south", "--units", "2000,3000", "--unit", "patient", "--epsilon", "2.5"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDPEFT_DATA_ROOT", raising=False)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """What a user types."""
    return lambda *lines: monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{x}\n" for x in lines)))


def test_the_answers_stand_in_the_toml(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "mine.toml", *ALL, "--records", "data/{name}.CSV", "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == "mine.toml"
    assert answer["next"][-1] == "fedpeft simulate mine.toml"
    config = load_config("mine.toml")
    assert config.data.source == "csv"
    assert (config.privacy.unit, config.privacy.epsilon) == ("patient", 2.5)
    assert config.declared_units == {"north": 2000, "south": 3000}
    assert [site.path for site in config.sites] == [Path.cwd() / f"data/{n}.CSV" for n in ("north", "south")]


def test_five_questions_are_asked_and_no_more(typed, capsys: pytest.CaptureFixture[str]) -> None:
    typed("a, b", "{name}.parquet", "70", "", "4")
    assert main(["new"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("?") + printed.err.count("(epsilon)") + printed.err.count("a column [") == 5
    config = load_config("run.toml")
    assert config.declared_units == {"a": 70, "b": 70}
    assert (config.data.source, config.privacy.unit, config.privacy.epsilon) == ("parquet", "record", 4)


def test_a_wrong_answer_is_asked_for_again(typed, capsys: pytest.CaptureFixture[str]) -> None:
    typed(
        "a/b",
        "a,A",
        "a,b",
        "x.jsonl",
        "{name}.xml",
        "",
        "many",
        "1,2,3",
        "0",
        "5",
        " ",
        "who",
        "-1",
        "inf",
        "1e3",
    )
    assert main(["new"]) == 0
    told = capsys.readouterr().err
    for words in (
        'sites = "a/b": must match', 'sites = "A": is named twice', 'records = "x.jsonl": is one file for 2',
        'records = "{name}.xml": must end in .jsonl or .csv or .parquet', 'units = "many": must be whole',
        "units = 1, 2, 3: must be 1 figure for all, or 2", "units = 0: must be at least 1",
        'unit = "": must not be empty', 'epsilon = "-1": must be', 'epsilon = "inf": must be',
    ):  # fmt: skip
        assert words in told
    assert load_config("run.toml").privacy.epsilon == 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--yes"], "--units: is not given, and it has no default; add it"),
        ([], "--sites: is not given, and nobody is there to be asked; add it"),
        (["--yes", "--units", "0"], "units = 0: must be at least 1; give"),
        (["--yes", "--units", "9", "--epsilon", "x"], 'epsilon = "x": must be a finite number above 0; '),
        (["--yes", "--units", "9", "--unit", " "], 'unit = "": must not be empty; name'),
        (["--yes", "--units", "9", "--sites", ","], "sites: at least 1 is needed; name"),
        (["no/such/run.toml", "--yes", "--units", "9"], "no/such/run.toml: cannot be written (No such file"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    typed, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    typed()
    assert main(["new", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert not Path("run.toml").exists()


def test_a_file_that_is_there_stays(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text("# mine\n", "utf-8")
    assert main(["new", "--yes", "--units", "9"]) == 2
    assert "run.toml: exists already; name another file, or remove it" in capsys.readouterr().err
    assert Path("run.toml").read_text("utf-8") == "# mine\n"


def test_what_is_commented_out_shows_the_defaults() -> None:
    """Each comment is a line of TOML; with all of them taken in, nothing changes."""
    assert main(["new", "--yes", "--units", "50"]) == 0
    text = Path("run.toml").read_text("utf-8")
    head, _, body = text.partition("\n\n")
    assert all(line.startswith("#") for line in head.splitlines())
    taken, number = re.subn(r"^# ([a-z_]+ = )", r"\1", body, flags=re.MULTILINE)
    assert number >= 12
    Path("taken.toml").write_text(taken, "utf-8")
    whole, plain = load_config("taken.toml"), load_config("run.toml")
    assert whole.privacy.delta == pytest.approx(plain.delta, rel=0.01)
    without_delta = whole.model_dump() | {"privacy": whole.privacy.model_dump() | {"delta": None}}
    assert without_delta == plain.model_dump()
