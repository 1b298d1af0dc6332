# SPDX-License-Identifier: Apache-2.0
"""Every command and every block of the documents does what it says, one document after the other.

Commands run in a folder with tiny data and a tiny backbone. What cannot run there is listed with the reason,
and its words are still held against the command line.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

import fedpeft
from fedpeft.cli import main
from fedpeft.cli.entry import _fedpeft
from fedpeft.config import load_config, parse_config
from fedpeft.privacy.policy import load_policy
from simulations.grid.experiment import ExperimentTable
from tests.documents.blocks import DOCUMENTS, ROOT, blocks_of, inline_commands, programs, shell_commands

NOT_RUN = {
    r"fedpeft doctor$": "loads the default backbone, which takes a download and minutes",
    r"fedpeft new mine\.toml$": "asks; tried by tests/cli/test_new.py",
    r"fedpeft site (check|serve) ": "needs users of its own; tried by tests/deployment and tests/e2e",
    r"fedpeft plan study\.toml$": "needs the default backbone, too",
    r"fedpeft select run\.toml --data public\.jsonl$": "tried by tests/test_layer_choice.py, and takes long",
    r"fedpeft evaluate site/delivered/": "needs a delivered run; tried by tests/e2e/test_deployment.py",
    r"fedpeft watch ": "serves until it is told to stop; tried by tests/report",
    r"fedpeft synthesize ": "tried by tests/e2e/test_synthesis.py, and takes long",
    r"fedpeft init \w+ DIR --help": "DIR stands for a folder; tried by tests/deployment/test_commands.py",
    r"make (demo|test|install)\b": "sets up an environment, or runs these tests",
    r"source (\.venv/bin/activate$|<\()": "belongs to the shell",
    r"(cd|export|mkdir|cat) ": "belongs to the shell",
    r"(ssh-keygen|fedpeft bundle) ": "needs what flwr builds; tried by tests/deployment/test_bundles.py",
    r"(APP=\S+ )?\./\w+\.sh": "starts servers of other machines; tried by tests/e2e/test_deployment.py",
    r"pip install": "needs a package registry",
    r"python -m simulations\.": "takes minutes or hours; tried by tests/simulations",
    r"flwr |flower-superlink": "starts Flower's own processes; tried by tests/flower",
}
"""Commands that are not run here, and why."""

SLOWER = ("--forecast", "--tune", "--minutes")
"""Take more than a few seconds even so; each is tried by a test of its own."""

BASE: dict[str, Any] = {
    "data": {"source": "jsonl"},
    "evaluation": {"public": True},
    "sites": [{"name": "north", "path": "north.jsonl", "declared_units": 2000}],
}
"""The run that a block with some of a TOML's tables is laid over."""

IDS = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def reason_not_to_run(command: str) -> str | None:
    """Why a command is not run here; ``None`` for one that is."""
    if command.startswith("fedpeft plan") and any(word in command for word in SLOWER):
        return "takes long; tried by tests/test_forecast.py and tests/test_proposal.py"
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), None)


def check_words(words: list[str]) -> None:
    """That there is such a command, with such options."""
    command: click.Command = _fedpeft
    context = click.Context(command)
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None or word.isupper(), words
            command = found or command
    options = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= options, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_commands_run(document: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, command in shell_commands(document):
        where = f"{document.name}:{line}: {command}"
        words = shlex.split(command.partition(" > ")[0].removesuffix("&"))
        if words[0] == "fedpeft":
            check_words(words[1:])
        if reason_not_to_run(command) is not None:
            continue
        assert words[0] == "fedpeft", f"{where}: is neither run nor listed with a reason"
        if "--out" in words and (workplace / words[words.index("--out") + 1]).exists():
            words[words.index("--out") + 1] += "-again"
        elif words[1] == "resume":
            words[2] = "runs/interrupted"
        code = main(words[1:])
        assert code == 0, f"{where}: {capsys.readouterr().err}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_commands_in_the_text_exist(document: Path) -> None:
    for words in inline_commands(document):
        check_words(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=IDS)
def test_configurations_are_sound(document: Path, workplace: Path) -> None:
    for block in blocks_of(document):
        if block.language != "toml":
            continue
        found = tomllib.loads(block.text)
        if block.title.endswith("policy.toml"):
            (workplace / "policy.toml").write_text(block.text, encoding="utf-8")
            load_policy(workplace / "policy.toml")
            continue
        if "cells" in found:
            _check_experiment(found)
            continue
        for name, table in BASE.items() if "sites" not in found else ():
            given = found.get(name, {})
            found[name] = {**table, **given} if isinstance(table, dict) else copy.deepcopy(table)
        try:
            parse_config(found, workplace)
        except fedpeft.ConfigError as error:
            pytest.fail(f"{document.name}:{block.line}: {error}")


def _check_experiment(tables: dict[str, Any]) -> None:
    """Its keys are those of an experiment, and every cell of it is a run."""
    experiment = ExperimentTable.model_validate(tables)
    for cell in experiment.cells:
        load_config(ROOT / "simulations" / Path(experiment.base).name, (*experiment.set, *cell.set))


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "simulations" / "benchmarks" / "README.md"])
def test_programs_that_are_named_exist(document: Path) -> None:
    for module, argument in programs(document):
        assert importlib.util.find_spec(module) is not None, module
        folder = {"simulations.benchmarks": "benchmarks", "simulations.grid": "experiments"}.get(module)
        if folder and argument not in ("", "NAME", "table"):
            assert list((ROOT / "simulations" / folder).glob(f"{argument}.*")), argument


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if "```python" in d.read_text("utf-8")])
def test_programs_run_and_use_public_names_alone(document: Path, workplace: Path) -> None:
    for block in blocks_of(document):
        if block.language != "python":
            continue
        tree = ast.parse(block.text)
        if block.title:  # a file of the package, which may use what its neighbours do
            _check_extension(block.title, block.text)
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "fedpeft", block.text
            match node:
                case ast.Attribute(value=ast.Name(id="fedpeft"), attr=name):
                    assert name in fedpeft.__all__
        exec(compile(tree, f"{document.name}:{block.line}", "exec"), {"__name__": "example"})


def _check_extension(path: str, text: str) -> None:
    """A rule of a document does its work beside the one that ships."""
    import numpy as np

    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text, path, "exec"), names)
    if path.startswith("fedpeft/aggregation/"):
        rule = names["Rule"](2)
        for update in ([1.0, 2.0], [3.0, 6.0]):
            rule.add(np.array(update, dtype=np.float32), 5.0)
        assert rule.result().tolist() == [2.0, 4.0]
        return
    from fedpeft.privacy.allocation.base import Facts
    from fedpeft.privacy.allocation.history import History

    assert path.startswith("fedpeft/privacy/allocation/")
    facts = Facts(np.array([10.0, 30.0]), 1.0)
    history = History.__new__(History)  # a rule that learns nothing looks at nothing
    assert names["Rule"]().allocate(facts, history).shares == pytest.approx((0.5, 0.5))


def test_every_reason_is_one_for_a_command_that_is_there() -> None:
    commands = [command for document in DOCUMENTS for _, command in shell_commands(document)]
    assert [p for p in NOT_RUN if not any(re.match(p, c) for c in commands)] == []


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """The controls: another option, another command, another key."""
    for words in (["simulate", "run.toml", "--ouT", "x"], ["simulat", "run.toml"], ["config", "chek", "x"]):
        with pytest.raises(AssertionError):
            check_words(words)
    assert reason_not_to_run("fedpeft simulate run.toml") is None
    assert reason_not_to_run("rm -rf /") is None
