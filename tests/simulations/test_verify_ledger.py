# SPDX-License-Identifier: Apache-2.0
"""The stand-alone verifier: no fedpeft in it, the same figures, and red for the same tampering."""

import ast
import importlib.util
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.ledger import Ledger, verify
from fedpeft.privacy.policy import FilterTerms, Policy
from fedpeft.privacy.renyi_filter import divergence
from fedpeft.types import FILTER_RUN, PrivacyEvent, Schedule, TrainRequest

SCRIPT = Path(__file__).parents[2] / "simulations" / "verify_ledger.py"


def load(path):
    spec = importlib.util.spec_from_file_location("verify_ledger", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


alone = load(SCRIPT)


def request(name, multiplier, run="run", rate=0.5):
    return TrainRequest(
        run, name, 1, 1, 1.0, multiplier, rate, (1.0,), "automatic", "abc", np.zeros(3, np.float32), ""
    )


@pytest.fixture
def paid(tmp_path):
    """Two runs, one of several multipliers, and requests outside any run."""
    policy = Policy(
        identity="st-mary", unit="record", declared_units=1000, epsilon=8.0, delta=1e-5, expires=date.max,
        stages=("training", "selection"),
        filter=FilterTerms(epsilon=1.0, delta=1e-6, noise_multiplier=8.0, sampling_rate=0.5),
    )  # fmt: skip
    path = tmp_path / "st-mary.sqlite"
    ledger = Ledger.open(path, policy)
    ledger.commit(Schedule("run", ((4.0, 2), (8.0, 3)), 0.5, "record"))
    ledger.commit(Schedule("other", ((5.0, 4),), 0.5, "record", "selection"))
    for number, multiplier in enumerate((4.0, 8.0, 8.0)):
        asked = request(f"r{number}", multiplier)
        assert ledger.charge(asked) is None
        ledger.store(asked.request_id, b"release")
    outside = request("outside", 9.0, FILTER_RUN)
    assert ledger.charge(outside) is None
    ledger.store("outside", b"release")
    return path


def test_it_imports_nothing_but_the_standard_library_and_numpy():
    names = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names - sys.stdlib_module_names == {"numpy"}


def test_it_agrees_with_the_package_on_a_good_ledger(paid):
    ours, theirs = verify(paid), alone.check(paid)
    assert ours.ok
    assert theirs.problems == []
    assert (theirs.epsilon, theirs.delta) == (ours.epsilon_committed, ours.delta_committed)
    by_run = {run["run"]: run for run in theirs.runs}
    for run in ours.runs:
        promised = [PrivacyEvent("poisson-gaussian", m, run.sampling_rate, n, "record") for m, n in run.parts]
        figure = epsilon(promised, run.delta_committed)
        assert by_run[run.run_id]["epsilon"] == pytest.approx(figure, rel=alone.TOLERANCE)
        assert by_run[run.run_id]["epsilon_spent"] == pytest.approx(run.epsilon_spent, rel=alone.TOLERANCE)
    assert by_run[FILTER_RUN]["spent"] == pytest.approx(ours.filter.spent, rel=1e-6)


def test_it_runs_as_a_script_far_from_the_package(paid, tmp_path):
    command = [sys.executable, "-I", str(SCRIPT), str(paid)]
    good = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["ok"] is True
    absent = subprocess.run(
        [*command[:3], "absent"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert absent.returncode == 1
    assert "no such file" in absent.stdout


# multiplier, rate, steps at delta 1e-6: the package's own figures are held to published ones elsewhere
@pytest.mark.parametrize(
    ("multiplier", "rate", "number", "pld"),
    [
        (0.8, 0.001, 100, 0.260339),
        (1.5, 0.05, 100, 1.943736),
        (2.0, 0.2, 100, 5.661788),
        (1.5, 0.05, 1000, 6.199695),
        (1.5, 0.001, 20000, 0.427622),
        (3.0, 0.05, 20000, 13.950659),
        (3.0, 0.001, 50000, 0.301900),
        (10.0, 1.0, 100, 4.886554),
    ],
)
def test_published_figures(multiplier, rate, number, pld):
    assert alone.epsilon_of({(multiplier, rate): number}, 1e-6) == pytest.approx(pld, rel=alone.TOLERANCE)


def test_several_multipliers_together():
    steps = {(2.0, 0.1): 20, (4.0, 0.1): 30, (8.0, 1.0): 5}
    events = [PrivacyEvent("poisson-gaussian", m, q, n, "record") for (m, q), n in steps.items()]
    assert alone.epsilon_of(steps, 1e-5) == pytest.approx(epsilon(events, 1e-5), rel=alone.TOLERANCE)


@pytest.mark.parametrize("order", [2, 16, 300])
def test_renyi_divergences(order):
    ours = divergence(PrivacyEvent("poisson-gaussian", 3.0, 0.2, 1, "record"), order)
    assert alone.renyi(3.0, 0.2, order) == pytest.approx(ours, rel=1e-6)


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE events SET event = replace(event, '8.0', '9.0') WHERE seq = 2"], "event 2: it or its"),
        (["UPDATE events SET time = '1999' WHERE seq = 1"], "event 1: it or its"),
        (["DELETE FROM events WHERE seq = 4"], "head: is not the newest"),
        (["DELETE FROM events WHERE seq = 2"], "event 3: does not follow"),
        (["UPDATE commitments SET epsilon = 0.01 WHERE seq = 2"], "commitment 2: was edited"),
        (["UPDATE commitments SET stage = 'clipping' WHERE seq = 2"], "commitment 2: was edited"),
        (["UPDATE meta SET epsilon = 100"], "commitment 1: does not follow"),
        (["UPDATE releases SET payload = x'00' WHERE request_id = 'r1'"], "its payload was edited"),
        (["INSERT INTO releases VALUES (9, '', 'r9', 'run', '', NULL)"], "'r9': was never charged"),
        (["UPDATE events SET event = replace(event, '8.0', '4.0')"], "more steps than committed"),
        (["UPDATE events SET event = replace(event, '9.0', '0.4')"], "filter: was charged"),
        (["UPDATE events SET event = '{}' WHERE seq = 1"], "cannot be read"),
        (["UPDATE meta SET epsilon = 0.1"], "add up to more than"),
        (["UPDATE commitments SET epsilon = 0.01 WHERE seq = 2"], "costs epsilon"),
        (["DELETE FROM head"], "head: is not the newest"),
        (["DROP TABLE releases"], "no such table"),
        (["PRAGMA user_version = 3"], "has layout 3"),
    ],
)
def test_tampering_turns_it_red(paid, statements, named):
    import sqlite3

    connection = sqlite3.connect(paid)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    assert any(named in problem for problem in alone.check(paid).problems), alone.check(paid).problems
    assert not verify(paid).ok


@pytest.fixture
def voted(tmp_path):
    """A run with a vote beside its steps; the vote is charged, and a step."""
    policy = Policy(
        identity="st-mary", unit="record", declared_units=1000, epsilon=8.0, delta=1e-5, expires=date.max,
        stages=("synthesis", "training"),
    )  # fmt: skip
    path = tmp_path / "voted.sqlite"
    ledger = Ledger.open(path, policy)
    ledger.commit(Schedule("run", ((4.0, 1),), 0.5, "record", votes=(("synthesis", 6.0, 1),)))
    vote = VoteRequest("run", "v", 6.0, "map", 1, np.zeros((2, 2), np.float32), "")
    for asked in (vote, request("r1", 4.0)):
        assert ledger.charge(asked) is None
        ledger.store(asked.request_id, b"release")
    return path


def test_votes_are_checked_too(voted):
    ours, theirs = verify(voted), alone.check(voted)
    assert ours.ok
    assert theirs.problems == []
    assert theirs.runs[0]["epsilon_spent"] == pytest.approx(ours.runs[0].epsilon_spent, rel=alone.TOLERANCE)


def test_a_vote_that_passes_for_a_step_is_noticed(voted):
    kinds = """replace(event, '"poisson-gaussian"', '"gaussian"')"""
    statement = f"UPDATE events SET event = replace({kinds}, '0.5', '1.0')"
    test_tampering_turns_it_red(voted, [statement], "more steps than committed")


def test_a_truncated_file_is_red(paid):
    paid.write_bytes(paid.read_bytes()[:-3000])
    assert alone.check(paid).problems
