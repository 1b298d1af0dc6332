# SPDX-License-Identifier: Apache-2.0
"""The catalogue of what a user can do wrong, and the line that each mistake is answered with.

Every line names the field, the value, what is allowed and the mend. What a TOML alone can have wrong stands
in ``BROKEN`` of ``tests/config/test_loading.py``; here is what shows in a command. The last part holds every
message of the package against the same rule, and asks for a test of each.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fedpeft.cli import main
from fedpeft.config import load_config
from fedpeft.data.arrow import as_dataset
from fedpeft.deployment.init import init_coordinator
from fedpeft.errors import FedpeftError
from fedpeft.folder import prepare_folder
from fedpeft.plan import make_plan
from fedpeft.privacy.accounting.groups import check_delta
from fedpeft.privacy.allocation.public import PublicStatistics
from fedpeft.privacy.ledger import store
from fedpeft.privacy.ledger.rows import Meta
from fedpeft.synthesis.certificate import Certificate
from fedpeft.testing import tiny_config, write_records
from tests.config.test_loading import BROKEN

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run's TOML with its data and backbone, and the run itself in ``done``."""
    folder = tmp_path_factory.mktemp("catalogue")
    tiny_config(folder, rounds=1, overrides=["evaluation.records=4"])
    write_records(folder / "few.jsonl", 3)
    write_records(folder / "test.jsonl", 4)
    assert main(["simulate", str(folder / "run.toml"), "--out", str(folder / "done"), "--quiet"]) == 0
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which is the working directory; paths of data start from it."""
    folder = tmp_path / "place"
    shutil.copytree(prepared, folder)
    text = (folder / "run.toml").read_text("utf-8").replace(str(prepared), str(folder))
    (folder / "run.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FEDPEFT_DATA_ROOT", raising=False)
    return folder


GOOD = b'{"id": "1", "task": "a", "instruction": "Say it.", "response": "it", "owner": "x"}\n'


def row(**changes: object) -> bytes:
    """The good row with some columns changed; ``None`` takes one out."""
    cells = json.loads(GOOD) | changes
    return json.dumps({key: value for key, value in cells.items() if value is not None}).encode() + b"\n"


def data(content: bytes) -> Callable[[Path], None]:
    """What the first site's file holds."""
    return lambda place: (place / "site0.jsonl").write_bytes(content) and None


def text(name: str, content: str) -> Callable[[Path], None]:
    """Another file."""
    return lambda place: (place / name).write_text(content, encoding="utf-8") and None


def both(name: str, content: str) -> Callable[[Path], None]:
    """A file for each site."""

    def write(place: Path) -> None:
        for number in (0, 1):
            (place / name.format(number)).write_text(content, encoding="utf-8")

    return write


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A file of the run that was changed afterwards."""

    def change(place: Path) -> None:
        path = place / name
        assert old in path.read_text("utf-8")
        path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")

    return change


def edit_ledger(place: Path) -> None:
    """An event of no steps, written past the triggers."""
    with sqlite3.connect(place / "done" / "ledger" / "site0.sqlite") as ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {name}")
        for old, new in (('"steps":1', '"steps":0'), ('"steps": 1', '"steps": 0')):
            ledger.execute("UPDATE events SET event = replace(event, ?, ?)", (old, new))


def full_disk(place: Path) -> None:
    """No byte is left where the run's files go."""
    config = load_config("run.toml")
    usage = type(shutil.disk_usage(place))(1, 1, 0)
    with mock.patch("fedpeft.folder.shutil.disk_usage", return_value=usage):
        prepare_folder(config, make_plan(config), place / "new")


META = Meta("a", "record", 8.0, 1e-5)


def nothing(place: Path) -> None:
    """All is as it was prepared."""


def setting(*overrides: str) -> list[str]:
    """``--set`` for each."""
    return [word for override in overrides for word in ("--set", override)]


SIMULATE = ["simulate", "run.toml", "--out", "new", "--quiet"]
NAMED = '"base_model_name_or_path"'
POLICY = 'identity = "site0"\nunit = "record"\ndeclared_units = 40\nepsilon = 8.0\ndelta = 1e-5\n'
POLICY += "expires = 9999-12-31\n"
VERIFY = ["ledger", "verify", "done/ledger/site0.sqlite", "--policy", "policy.toml"]
SELFT = setting("selection.selector=selft")

# What was done before; the call; then the field or file, the value, what is allowed, the mend.
CASES: dict[str, tuple[Callable[[Path], None], list[str], tuple[str, ...]]] = {
    # --- the TOML as a file, and --set
    "no toml": (nothing, ["plan", "no.toml"], ("no.toml", "no such file", "give the path of a run's TOML")),
    "a folder for a toml": (nothing, ["plan", "."], ("cannot be read", "Is a directory", "give a TOML file")),
    "no toml syntax": (
        text("x.toml", "[privacy]\nepsilon ="), ["plan", "x.toml"],
        ("x.toml: not TOML", "line 2, column 10", "mend the syntax there"),
    ),
    "a set without a value": (
        nothing, ["plan", "run.toml", *setting("privacy.epsilon")],
        ('--set "privacy.epsilon"', "must be KEY=VALUE", "write it so"),
    ),
    "a set of no site": (
        nothing, ["plan", "run.toml", *setting("sites.sit0.epsilon=1")],
        ('--set "sites.sit0.epsilon=1"', "the NAME of a site", 'did you mean "site0"?'),
    ),
    "decay that removes everything": (
        nothing, ["plan", "run.toml", *setting("federation.lambda1=2.0")],
        ("federation.lambda1 = 2.0", "server_learning_rate = 1.0", "must be below 1", "lower it"),
    ),
    # --- the backbone and what is trained of it
    "no backbone": (
        nothing, ["plan", "run.toml", *setting("model.backbone=./nowhere")],
        ("model.backbone", "nowhere", "does not exist", "give"),
    ),
    "a folder without a model": (
        lambda place: (place / "empty").mkdir(), ["plan", "run.toml", *setting("model.backbone=./empty")],
        ("model.backbone", "empty", "without config.json", "give"),
    ),
    "a file that is no model": (
        text("model.txt", ""), ["plan", "run.toml", *setting("model.backbone=./model.txt")],
        ("model.backbone", "model.txt", "no .gguf", "give"),
    ),
    "a revision of a folder": (
        nothing, ["plan", "run.toml", *setting("model.revision=abc")],
        ("model.revision is 'abc'", "is no hub id", "leave the revision out"),
    ),
    "a device that is not there": (
        nothing, [*SIMULATE, *setting("model.device=cuda:77")],
        ("model.device is 'cuda:77'", "usable GPUs", "choose auto or cpu"),
    ),
    "a module that is not there": (
        nothing, ["plan", "run.toml", *setting('adapter.modules=["q_prj"]')],
        ("adapter.modules", "'q_prj'", "there are", "did you mean 'q_proj'?"),
    ),
    "a block that is not there": (
        nothing, ["plan", "run.toml", *setting("adapter.layers=[7]")],
        ("adapter.layers", "[7]", "blocks 0 to 1", "name others"),
    ),
    "records longer than the backbone": (
        nothing, [*SIMULATE, *setting("data.max_length=5000")],
        ("data.max_length", "5000", "above the 512 positions", "lower it"),
    ),
    "records shorter than the template": (
        nothing, [*SIMULATE, *setting("data.max_length=8")],
        ("data.max_length is 8", "the chat template needs", "set at least"),
    ),
    "a template without the user": (
        text("backbone/chat_template.jinja", "Hello."), SIMULATE,
        ("model.backbone", "chat template leaves out what the user says", "name another"),
    ),
    "noise that changes too often": (
        nothing,
        [
            "plan", "run.toml",
            *setting("privacy.schedule=lr-matched", "training.learning_rate_decay=0.999"),
            *setting("federation.rounds=999"),
        ],
        ("privacy.schedule", "999 different multipliers", "at most", "let them change after more rounds"),
    ),
    # --- the guarantee
    "an epsilon beyond reach": (
        nothing, ["plan", "run.toml", *setting("privacy.epsilon=1e9")],
        ("epsilon = 1000000000.0", "must lie in (0, 1000]", "change privacy.epsilon"),
    ),
    "an epsilon that no noise reaches": (
        nothing, ["plan", "run.toml", *setting("privacy.epsilon=1e-9", "privacy.delta=1e-12")],
        ("epsilon = 1e-09", "no noise multiplier", "delta = 1e-12", "raise epsilon or delta, or take fewer"),
    ),
    "an audit of a loose claim": (
        nothing, ["audit", "run.toml"],
        ("privacy.epsilon = 8", "must be at most 2", "--set privacy.epsilon=2"),
    ),
    "statistics that are none": (
        text("start.json", "{}"),
        [*SIMULATE, *setting("privacy.allocation=kl", "privacy.allocation_start=start.json")],
        ("privacy.allocation_start", "start.json", "must say", "make it with save()"),
    ),
    # --- plan's own options
    "data for no forecast": (
        nothing, ["plan", "run.toml", "--data", "x"],
        ("--data", "has no use without --forecast or --tune", "add one"),
    ),
    "steps for no minutes": (
        nothing, ["plan", "run.toml", "--min-steps", "3"],
        ("--min-steps", "has no use without --minutes", "add it"),
    ),
    "no minutes": (
        nothing, ["plan", "run.toml", "--minutes", "-1"],
        ("--minutes = -1", "must be a finite number above 0", "change it"),
    ),
    "too few minutes": (
        nothing, ["plan", "run.toml", "--minutes", "1e-9"],
        ("--minutes = 1e-09", "must be at least", "give more minutes"),
    ),
    "records of one token": (
        nothing, ["plan", "run.toml", "--minutes", "1", "--mean-length", "1"],
        ("--mean-length = 1", "must be at least 2", "raise it"),
    ),
    "responses longer than records": (
        nothing, ["plan", "run.toml", "--minutes", "1", "--mean-length", "9", "--mean-response", "9"],
        ("--mean-response = 9", "must be from 1 to 8", "lower it"),
    ),
    # --- records
    "a file that is not there": (
        lambda place: (place / "site0.jsonl").unlink(), SIMULATE,
        ("sites.site0.path", "site0.jsonl", "no such file", "mend the path"),
    ),
    "a line that is no json": (
        data(GOOD + b"{\n"), SIMULATE, ("site0.jsonl:2", "not JSON", "write one JSON object a line"),
    ),
    "a line that is no object": (
        data(b"[1]\n"), SIMULATE, ("site0.jsonl:1", "a list instead of a JSON object", "write one"),
    ),
    "a line that is no utf-8": (
        data(b'{"a": "\xff"}\n'), SIMULATE,
        ("site0.jsonl:1", "byte 8", "is not UTF-8", "save the file as UTF-8"),
    ),
    "a column that is not there": (
        data(row(response=None, reponse="x")), SIMULATE,
        ("site0.jsonl:1", "'response' ([data] response)", "is missing", "did you mean 'reponse'?"),
    ),
    "an empty response": (
        data(row(response=" ")), SIMULATE,
        ("site0.jsonl:1", "[data] response", "is empty", "fill it or remove the row"),
    ),
    "a response of a number": (
        data(row(response=3)), SIMULATE,
        ("site0.jsonl:1", "[data] response", "is a number", "must be a string"),
    ),
    "an id twice": (
        data(GOOD + GOOD), SIMULATE,
        ("site0.jsonl:2", "id '1'", "site0.jsonl:1 already", "give each record its own"),
    ),
    "a unit that is empty": (
        data(row(owner="")), [*SIMULATE, *setting("privacy.unit=owner")],
        ("site0.jsonl:1", "'owner' ([privacy] unit)", "is empty", "fill it, or set missing_unit"),
    ),
    "a unit of several values": (
        data(row(owner=["x", "y"])), [*SIMULATE, *setting("privacy.unit=owner")],
        ("site0.jsonl:1", "'owner' ([privacy] unit)", "several values", "a record has one"),
    ),
    "csv with a ragged row": (
        both("site{}.csv", "instruction,response\na\n"),
        [
            *SIMULATE,
            *setting("data.source=csv", "sites.site0.path=site0.csv", "sites.site1.path=site1.csv"),
            *setting("data.id=instruction", "data.task=instruction"),
        ],
        ("site0.csv:2", "1 values for 2 columns", "give each column one"),
    ),
    "csv with a lone quote": (
        lambda place: (place / "site0.jsonl").write_text('instruction,response\na,"b"c\n') and None,
        [*SIMULATE, *setting("data.source=csv")],
        ("site0.jsonl:2", "not csv", "separate by commas and double a quote in quotes"),
    ),
    "a record without its id": (
        data(row(id="")), SIMULATE,
        ("site0.jsonl:1", "'id' ([data] id)", "is empty", "give the record an id"),
    ),
    "parquet that is none": (
        nothing, [*SIMULATE, *setting("data.source=parquet")],
        ("site0.jsonl", "cannot be read as parquet", "write the file anew"),
    ),
    "a hub folder that is none": (
        lambda place: [(place / f"hub{i}").mkdir() for i in (0, 1)] and None,
        [
            *SIMULATE,
            *setting("data.source=hub", "sites=[{name='a',dataset='./hub0',declared_units=9}]"),
        ],
        ("sites.a.dataset", "hub0", "cannot be loaded", "correct its name"),
    ),
    "another response than the labels": (
        nothing, [*SIMULATE, *setting('evaluation.labels=["yes", "no"]')],
        ("evaluation.labels", "records to evaluate have another response", "list every label"),
    ),
    "nothing to compare": (
        nothing, [*SIMULATE, "--baselines", *setting("evaluation.records=0")],
        ("--baselines", "evaluation.records is 0", "set it, or leave --baselines away"),
    ),
    "one program's data": (
        nothing, [*SIMULATE, *setting("data.source=python", "sites=[{name='a',declared_units=9}]")],
        ('data.source = "python"', "objects of the program", "call fedpeft.simulate"),
    ),
    "records of a deployment": (
        nothing,
        [
            *SIMULATE,
            *setting("data.source=sites", "sites=[{name='a',declared_units=9}]", "evaluation.records=0"),
        ],
        ('data.source = "sites"', "no simulation", "start it with `flwr run`"),
    ),
    # --- stages before training
    "nothing to make": (
        nothing, ["synthesize", "run.toml", "--out", "new"],
        ("synthesis.generator", "is not set", "set it to 'generator' or 'pool' or 'public'"),
    ),
    "nothing that chooses": (
        nothing, ["select", "run.toml"], ("selection.selector", "missing", "set it"),
    ),
    "nothing to choose by": (
        nothing, ["select", "run.toml", *SELFT], ("selection.data", "missing", "name a file"),
    ),
    "too little to choose by": (
        nothing, ["select", "run.toml", *SELFT, "--data", "few.jsonl"],
        ("selection.data", "has 3 rows", "at least", "give more"),
    ),
    "a site's rows to choose by": (
        nothing, ["select", "run.toml", *SELFT, "--data", "site0.jsonl"],
        ("--data", "site0.jsonl", "trains on", "name public rows"),
    ),
    "more blocks than there are": (
        nothing, ["select", "run.toml", *setting("selection.selector=last-k", "selection.size=9")],
        ("selection.size = 9", "must be at most 2", "lower it"),
    ),
    # --- folders of runs
    "a folder that is taken": (
        nothing, ["simulate", "run.toml", "--out", "done"],
        ("--out done", "exists already", "choose another folder"),
    ),
    "a folder in a file": (
        nothing, ["simulate", "run.toml", "--out", "run.toml/new"],
        ("--out run.toml/new", "cannot be written", "choose another"),
    ),
    "no run to resume": (
        nothing, ["resume", "backbone"], ("backbone", "has no config.toml", "name a run's folder"),
    ),
    "a complete run to resume": (
        nothing, ["resume", "done"], ("done", "all 1 rounds are complete", "its result is in result.json"),
    ),
    "an edited run to resume": (
        edit("done/config.toml", "epsilon = 8.0", "epsilon = 80.0"), ["resume", "done"],
        ("done/config.toml", "was changed since the run began", "restore it, or start a new run"),
    ),
    # --- adapters
    "no adapter": (
        nothing, ["evaluate", "backbone", "--data", "test.jsonl"],
        ("backbone", "is no PEFT adapter", "name a folder that has one"),
    ),
    "an adapter of nobody's": (
        edit("done/adapter/adapter_config.json", NAMED, f'{NAMED}: null, "x"'),
        ["evaluate", "done/adapter", "--data", "test.jsonl"],
        ("done/adapter", "names no backbone", "give --backbone"),
    ),
    "an adapter of another model": (
        edit("done/adapter/adapter_config.json", "model.layers.", "model.lairs."),
        ["evaluate", "done/adapter", "--data", "test.jsonl"],
        ("done/adapter", "peft cannot load it on this backbone", "check --backbone"),
    ),
    "a damaged adapter": (
        text("done/adapter/adapter_model.safetensors", "nothing"),
        ["evaluate", "done/adapter", "--data", "test.jsonl"],
        ("done/adapter", "peft cannot load it on this backbone", "check --backbone"),
    ),
    "no records to evaluate": (
        nothing, ["evaluate", "done/adapter", "--data", "no.jsonl"],
        ("no.jsonl", "does not exist", "correct the path"),
    ),
    # --- policies and ledgers
    "no policy": (
        nothing, VERIFY, ("policy.toml", "cannot be read", "give the path of a policy.toml"),
    ),
    "a policy with a word too much": (
        text("policy.toml", POLICY + "epsilom = 3\n"), VERIFY,
        ("policy.toml: epsilom", "is not a key of a policy", "choose one of identity"),
    ),
    "a policy with a word too few": (
        text("policy.toml", POLICY.replace("delta", "# delta")), VERIFY,
        ("policy.toml: delta", "is required", "add it"),
    ),
    "a policy out of bounds": (
        text("policy.toml", POLICY.replace("8.0", "-8.0")), VERIFY,
        ("policy.toml: epsilon = -8.0", "greater than 0", "change it"),
    ),
    "a policy that is no toml": (
        text("policy.toml", "identity ="), VERIFY, ("policy.toml", "is not TOML", "mend the syntax there"),
    ),
    # --- deployment
    "a folder of a site that is taken": (
        nothing, ["init", "site", "done", "--identity", "a", "--superlink", "h:1"],
        ("done", "is not empty", "name a new folder"),
    ),
    "no site file": (
        nothing, ["site", "check", "SITE.toml"], ("SITE.toml", "no such file", "give the path"),
    ),
    "a site file without a site": (
        text("SITE.toml", "site = 3"), ["site", "check", "SITE.toml"],
        ("SITE.toml", "site", "write it as a table [site]"),
    ),
    # --- a run of one's own
    "a toml that is there": (
        nothing, ["new", "run.toml", "--yes", "--units", "9"],
        ("run.toml", "exists already", "name another file, or remove it"),
    ),
    "no units": (nothing, ["new", "x.toml", "--yes"], ("--units", "is not given", "add it")),
    "one file for all": (
        nothing, ["new", "x.toml", "--yes", "--units", "9", "--records", "x.csv"],
        ('records = "x.csv"', "one file for 2 organizations", "put {name}"),
    ),
}  # fmt: skip

FAILS: dict[str, tuple[Callable[[Path], None], list[str], tuple[str, ...]]] = {
    "no ledgers": (
        nothing, ["ledger", "verify", "backbone"], ("backbone", "holds no ledger", "give the path"),
    ),
    "no ledger": (
        nothing, ["ledger", "show", "run.toml"], ("run.toml", "file is not a database", ";"),
    ),
    "an empty ledger": (
        text("x.sqlite", ""), ["ledger", "show", "x.sqlite"],
        ("x.sqlite", "is empty", "what was spent is lost", "restore the newest backup"),
    ),
    "an edited ledger": (
        edit_ledger, ["ledger", "show", "done/ledger/site0.sqlite"],
        ("site0.sqlite", "steps", "`fedpeft ledger verify` lists all problems"),
    ),
}  # fmt: skip
"""The same where the command was right and what it found was not: exit code 1."""


def error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return [line.removeprefix("error: ") for line in printed.err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_answered_with_its_line(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, call, parts = CASES[name]
    prepare(place)
    capsys.readouterr()
    assert main(call) == 2
    lines = error_lines(capsys)
    assert any(all(part in line for part in parts) for line in lines), lines
    assert not (place / "new").exists()  # nothing was begun


@pytest.mark.parametrize("name", FAILS)
def test_what_is_wrong_with_a_ledger_is_told(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, call, parts = FAILS[name]
    prepare(place)
    assert main(call) == 1
    (line,) = error_lines(capsys)
    assert all(part in line for part in parts), line


IN_PYTHON: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "data that are no dataset": (
        lambda _: as_dataset([], "datasets['a']"), ("datasets['a']", "is a list", "give a datasets.Dataset"),
    ),
    "a delta of one": (
        lambda _: check_delta(1.0), ("delta = 1.0", "must lie strictly between 0 and 1", "change it"),
    ),
    "statistics of nobody": (
        lambda _: PublicStatistics("", *[np.ones(2)] * 3),
        ("source", "must say what public data the statistics were made from", "name them"),
    ),
    "a host of no certificate": (
        lambda place: init_coordinator(place / "c", "x", ["é.example"], 8000),
        ("--host é.example", "give names or addresses"),
    ),
    "no certificate": (
        lambda _: Certificate.from_json("{}"),
        ("certificate.json", "is no certificate of version", "make the data anew"),
    ),
    "a ledger in no folder": (
        lambda place: store.create(place / "run.toml" / "a.sqlite", META),
        ("a.sqlite", "cannot be created: Not a directory", "mend its folder"),
    ),
    "a full disk": (full_disk, ("--out", "0 MB are free", "the run needs", "make room or go elsewhere")),
}  # fmt: skip
"""What the command line asks about before, or cannot cause."""


@pytest.mark.parametrize("name", IN_PYTHON)
def test_a_program_is_answered_likewise(name: str, place: Path) -> None:
    cause, parts = IN_PYTHON[name]
    with pytest.raises(FedpeftError) as caught:
        cause(place)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_the_catalogue_is_about_every_part() -> None:
    assert len(CASES) + len(FAILS) + len(BROKEN) >= 150
    commands = {call[0] for _, call, _ in (*CASES.values(), *FAILS.values())}
    assert {"plan", "simulate", "select", "synthesize", "resume", "evaluate", "ledger", "init"} <= commands


# --- every message of the package ---------------------------------------------------------------------

ERRORS = {
    "UserError", "ConfigError", "DataError", "BackboneError", "RunDirectoryError", "LedgerError", "RowError",
}  # fmt: skip
NOT_A_USERS = {
    "is not in work here": "a mistake of the calling program",
    "needs the backbone, which is not here": "likewise",
    "write it as a table [site]": "is its own mend",
}
"""Messages without a mend, or without a test of their own, and why."""

ELSEWHERE = {
    "has no singular vectors": "tests/contracts/test_adapters.py",
    "so nothing can be delivered": "tests/flower/test_client.py",
    "is read-only; give its owner": "tests/privacy/test_ledger_open.py",
    "cannot be made private": "tests/privacy/test_ledger_open.py",
    "cannot be locked": "tests/privacy/test_ledger_processes.py",
    "trains on it; give it": "tests/selection/test_selft.py",
    "cannot be made (*); mend its folder": "tests/site/test_daemon.py",
    "a stored release is cut short": "tests/site/test_wire.py",
    "restore the file, or make the data anew": "tests/synthesis/test_dataset.py",
    "is no row (*)": "tests/synthesis/test_dataset.py",
    "no gradient reaches": "tests/training/test_gradients.py",
    "no usable gradient reaches": "tests/training/test_probe.py",
    "change the gradients of this backbone": "tests/training/test_probe.py",
}
"""Messages whose tests quote fewer words, or whose cause is the file system's, and where their part is."""


def messages() -> Iterator[tuple[str, str]]:
    """Every message that is written where it is raised: its place, and its parts with ``*`` between."""
    for path in sorted((ROOT / "fedpeft").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                for argument in node.args[:1]:
                    found = _words(argument)
                    if len(found.replace("*", "").strip(" ;:")) > 12:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", found


def _words(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_words(part) for part in parts)
        case ast.BinOp(left=left, right=right):
            return _words(left) + _words(right)
    return "*"


def has_mend(message: str) -> bool:
    """Whether something follows the last semicolon, or it is put there."""
    return bool(re.search(r"; ?\S|; ?\*|\*$", message))


MESSAGES = dict(messages())


def test_the_messages_are_found() -> None:
    assert len(MESSAGES) > 170
    assert has_mend("data.id is empty; fill it")
    assert not has_mend("data.id is empty")


def test_every_message_says_how_to_mend_it() -> None:
    lacking = {where: told for where, told in MESSAGES.items() if not has_mend(told)}
    assert {w: t for w, t in lacking.items() if not any(known in t for known in NOT_A_USERS)} == {}


@functools.cache
def _tests() -> str:
    """The words of all tests."""
    return " ".join(_plain(path.read_text("utf-8")) for path in sorted((ROOT / "tests").rglob("*.py")))


def _plain(text: str) -> str:
    """Words with single spaces, without what quotes, regular expressions and line breaks add."""
    return " ".join(re.findall(r"[\w.-]*\w", text))


def is_quoted(message: str) -> bool:
    """Whether a test has three words of it side by side, or all of a part that has fewer."""
    for part in message.split("*"):
        words = _plain(part).split()
        runs = [" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))]
        if any(len(run) > 8 and run in _tests() for run in runs):
            return True
    return False


def test_every_message_is_quoted_by_a_test() -> None:
    unheard = {where: told for where, told in MESSAGES.items() if not is_quoted(told)}
    known = {**NOT_A_USERS, **ELSEWHERE}
    assert {w: t for w, t in unheard.items() if not any(words in t for words in known)} == {}
    assert all((ROOT / place).is_file() for place in ELSEWHERE.values())
    assert not is_quoted(" ".join(reversed(["wrote", "nobody", "that", "elephants", "purple"])))
