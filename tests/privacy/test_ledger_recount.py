# SPDX-License-Identifier: Apache-2.0
"""Verification is green for an honest ledger and red for every way of tampering with one."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import astuple, replace

import pytest

from fedpeft.errors import LedgerError
from fedpeft.privacy import accountant
from fedpeft.privacy.events import event_to_json
from fedpeft.privacy.ledger import rows, show, store, verify, verify_all
from fedpeft.privacy.ledger.budget import Budget
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.types import PrivacyEvent

EVENT = PrivacyEvent("poisson-gaussian", 4.0, 0.5, 1, "record")


@pytest.fixture
def paid(ledger, tools, pay, path):
    """Path of a ledger with four charges, the last without a release."""
    for number in range(1, 4):
        pay(ledger, tools.request(f"run/{number}"))
    ledger.charge(tools.request("run/4"))
    ledger.close()
    return path


def append(path, event=EVENT, run_id="run"):
    """Add a charge with right hashes and a moved head, but without any of the checks."""
    with store.transaction(path) as connection:
        commitment = rows.find_commitment(connection, run_id)
        charge = rows.Charge("2026", run_id, "forged", "digest", event_to_json(event))
        connection.execute("PRAGMA defer_foreign_keys = ON")
        rows.append_event(connection, charge, commitment.hash if commitment else "")


def problems(path):
    report = verify(path)
    assert report.ok == (not report.problems)
    return "\n".join(report.problems)


def test_an_honest_ledger(paid):
    report = verify(paid)
    assert report.ok
    assert (report.identity, report.unit, report.epsilon, report.delta) == ("st-mary", "record", 8.0, 1e-5)
    assert (report.num_events, report.num_releases, report.num_uncommitted) == (4, 3, 0)
    (run,) = report.runs
    assert (run.steps_committed, run.steps_spent, run.num_unreleased) == (5, 4, 1)
    assert accountant.epsilon([replace(EVENT, steps=5)], run.delta_committed) <= run.epsilon_committed
    assert run.epsilon_spent == accountant.epsilon([replace(EVENT, steps=4)], run.delta_committed)
    assert report.epsilon_spent == accountant.epsilon([replace(EVENT, steps=4)], 1e-5)
    assert report.epsilon_spent < run.epsilon_committed == report.epsilon_committed
    assert run.second_accountant == "prv"
    assert run.second_opinion == pytest.approx(run.epsilon_committed, abs=0.03)


def test_verifying_changes_nothing(paid, tools):
    before, stamp = tools.dump(paid), paid.stat().st_mtime_ns
    verify(paid)
    assert tools.dump(paid) == before
    assert paid.stat().st_mtime_ns == stamp


def test_a_repeated_charge_is_not_a_problem(ledger, tools, pay, path):
    ledger.charge(tools.request())
    pay(ledger, tools.request())
    report = verify(path)
    assert report.ok
    assert report.runs[0].num_unreleased == 1


def test_an_empty_ledger(tools, path):
    tools.open(path)
    report = verify(path)
    assert report.ok
    assert report.epsilon_spent == report.epsilon_committed == 0


def test_show(paid):
    charges = show(paid)
    assert [row.request_id for row in charges] == ["run/1", "run/2", "run/3", "run/4"]
    assert [row.released for row in charges] == [True, True, True, False]
    assert {row.event for row in charges} == {EVENT}


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (["UPDATE events SET event = replace(event, '4.0', '9.0') WHERE seq = 2"], "event 2: it or its"),
        (["UPDATE events SET event = replace(event, ': 1,', ': 0,') WHERE seq = 2"], "steps = 0"),
        (["UPDATE events SET event = 'gone' WHERE seq = 2"], "not strict JSON"),
        (["UPDATE events SET time = '1999' WHERE seq = 1"], "event 1: it or its"),
        (["UPDATE events SET request_digest = 'x' WHERE seq = 4"], "event 4: it or its"),
        (["DELETE FROM events WHERE seq = 1"], "event 2: does not follow"),
        (["DELETE FROM events WHERE seq = 2"], "event 3: does not follow"),
        (["DELETE FROM events WHERE seq = 4"], "the newest event is 3, but the head says 4"),
        (["DELETE FROM events"], "the newest event is 0, but the head says 4"),
        (
            [
                "UPDATE events SET seq = 9 WHERE seq = 2",
                "UPDATE events SET seq = 2 WHERE seq = 3",
                "UPDATE events SET seq = 3 WHERE seq = 9",
            ],
            "event 2: does not follow",
        ),
        (
            ["UPDATE head SET hash = (SELECT hash FROM events WHERE seq = 3), seq = 3"],
            "the newest event is 4",
        ),
        (
            ["UPDATE commitments SET schedule = replace(schedule, ': 5,', ': 50,')"],
            "commitment 1: was edited",
        ),
        (["UPDATE commitments SET epsilon = 0.1"], "commitment 1: was edited"),
        (["DELETE FROM commitments"], "event 1: no commitment covers it"),
        (["UPDATE meta SET epsilon = 100"], "commitment 1: does not follow"),
        (["UPDATE meta SET identity = 'st-john'"], "commitment 1: does not follow"),
        (["DELETE FROM meta"], "meta is empty"),
        (["DELETE FROM head"], "head is empty"),
        (["DROP TABLE releases"], "no such table"),
        (
            ["UPDATE releases SET payload = x'00' WHERE request_id = 'run/1'"],
            "'run/1': its payload was edited",
        ),
        (["INSERT INTO releases VALUES (9, '', 'run/9', 'run', '', NULL)"], "'run/9': was never charged"),
    ],
)
def test_tampering_turns_it_red(paid, tools, statements, named):
    tools.edit(paid, *statements)
    assert named in problems(paid)
    if "releases" not in " ".join(statements):  # which verification alone reads
        with pytest.raises(LedgerError):
            tools.open(paid)


def test_an_added_row_with_its_own_hash_recomputed(paid):
    with closing(sqlite3.connect(paid)) as connection:
        last = rows.read_events(connection)[-1]
        commitment = rows.read_commitments(connection)[0]
        row = rows.EventRow(5, "2026", "run", "run/5", "digest", last.event, last.hash, "")
        row = replace(row, hash=row.computed_hash(commitment.hash))
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(row))
        connection.commit()
    assert "the newest event is 5, but the head says 4" in problems(paid)


def test_an_edited_row_with_its_own_hash_recomputed(paid, tools):
    with closing(sqlite3.connect(paid)) as connection:
        row = rows.read_events(connection)[1]
        commitment = rows.read_commitments(connection)[0]
    row = replace(row, event=row.event.replace("4.0", "9.0"))
    own = row.computed_hash(commitment.hash)
    tools.edit(paid, f"UPDATE events SET event = '{row.event}', hash = '{own}' WHERE seq = 2")
    assert "event 3: does not follow" in problems(paid)


def test_charges_beyond_the_commitment(paid):
    append(paid)
    assert verify(paid).ok  # the fifth of five steps
    append(paid)
    assert "was charged 6 steps, but committed to 5" in problems(paid)


def test_a_charge_with_another_multiplier(paid):
    append(paid, replace(EVENT, noise_multiplier=3.0))
    assert "did not commit to" in problems(paid)


def test_a_charge_for_another_unit(paid):
    append(paid, replace(EVENT, unit="patient"))
    assert "protects 'patient', the ledger 'record'" in problems(paid)


def test_a_charge_without_a_commitment(paid, tools):
    tools.edit(paid, "PRAGMA foreign_keys = OFF")
    with closing(sqlite3.connect(paid)) as connection:  # of a program that enforces no foreign keys
        charge = rows.Charge("2026", "elsewhere", "forged", "digest", event_to_json(EVENT))
        rows.append_event(connection, charge, "")
        connection.commit()
    report = verify(paid)
    assert report.num_uncommitted == 1
    assert "event 5: no commitment covers it" in report.problems


@pytest.mark.parametrize(
    ("epsilon", "delta", "steps", "named"),
    [
        (7.0, 5e-6, 1, "commitments: epsilon adds up to"),
        (0.5, 1e-5, 1, "commitments: delta adds up to"),
        (0.1, 5e-6, 5, "but was committed with 0.1"),
        (0.5, 0.0, 1, "delta 0.0 lies outside"),
    ],
)
def test_commitments_that_the_policy_does_not_cover(paid, epsilon, delta, steps, named):
    with store.transaction(paid) as connection:
        promise = Promise((replace(EVENT, steps=steps),))
        part = Budget(epsilon, delta)
        rows.append_commitment(connection, "2026", "forged", "training", promise.to_json(), part)
    assert named in problems(paid)


def test_the_second_accountant_is_heard(paid, monkeypatch):
    opinion = accountant.SecondOpinion(9.0, "prv", 0.02)
    monkeypatch.setattr(accountant, "second_opinion", lambda events, delta: opinion)
    assert "opacus says 9" in problems(paid)


def test_a_first_accountant_that_says_too_little_is_contradicted(paid, tools, monkeypatch):
    with store.transaction(paid) as connection:
        promise = Promise((replace(EVENT, steps=50),))
        part = Budget(0.5, 1e-6)
        rows.append_commitment(connection, "2026", "forged", "training", promise.to_json(), part)
    monkeypatch.setattr(accountant, "epsilon", lambda events, delta: 0.01)
    assert "run 'forged': was committed with epsilon 0.5; opacus says" in problems(paid)


def test_a_folder_of_ledgers(paid, tools):
    other = paid.with_name("other.sqlite")
    shutil.copy(paid, other)
    assert [report.path.name for report in verify_all(paid.parent)] == ["other.sqlite", "st-mary.sqlite"]
    tools.edit(other, "UPDATE events SET time = '1999'")
    assert [report.ok for report in verify_all(paid.parent)] == [False, True]


def test_show_refuses_what_it_cannot_read(paid, tools):
    tools.edit(paid, "UPDATE events SET event = '{}' WHERE seq = 2")
    with pytest.raises(LedgerError, match="verify"):
        show(paid)
