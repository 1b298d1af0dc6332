# SPDX-License-Identifier: Apache-2.0
"""A file that must not be used is refused with one line that says what to do, and stays as it was."""

import resource
import sqlite3
import threading
from contextlib import closing

import pytest

from fedpeft.errors import LedgerError
from fedpeft.privacy.ledger import Ledger, rows, show, store, verify, verify_all


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_new_ledger_is_private_and_empty(tools, path):
    ledger = tools.open(path)
    assert mode(path) == 0o600
    assert ledger.spent() == []
    assert ledger.head == rows.Meta("st-mary", "record", 8.0, 1e-5).genesis
    assert sorted(p.name for p in path.parent.iterdir()) == ["st-mary.sqlite", "st-mary.sqlite.lock"]
    assert all(mode(p) == 0o600 for p in path.parent.iterdir())


def test_the_journal_is_as_private_as_the_file(ledger, path):
    with store.transaction(path) as connection:
        connection.execute("INSERT INTO releases VALUES (1, '', 'r', 'run', '', zeroblob(100))")
        journal = path.with_name(f"{path.name}-journal")
        assert mode(journal) == 0o600
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")
    assert not journal.exists()


def test_a_lax_mode_is_mended(ledger, tools, path):
    path.chmod(0o644)
    tools.open(path)
    assert mode(path) == 0o600


def test_any_sqlite_client_reads_the_events(ledger, tools, pay, path):
    pay(ledger, tools.request(local_steps=2))
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT json_extract(event, '$.noise_multiplier'), json_extract(event, '$.steps') FROM events"
        assert connection.execute(query).fetchall() == [(4.0, 2)]


@pytest.mark.parametrize("table", ["meta", "commitments", "events", "releases"])
@pytest.mark.parametrize("verb", ["DELETE FROM {table}", "UPDATE {table} SET rowid = rowid + 7"])
def test_rows_cannot_be_changed_by_accident(ledger, tools, pay, path, table, verb):
    pay(ledger, tools.request())
    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(verb.format(table=table))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"identity": "st-john"}, "identity"),
        ({"unit": "patient"}, "unit"),
        ({"delta": 2e-5}, "delta"),
        ({"delta": 0.5e-5}, "delta"),
        ({"epsilon": 9.0}, "epsilon"),
    ],
)
def test_other_terms(ledger, tools, path, change, named):
    before = tools.dump(path)
    with pytest.raises(LedgerError, match=named):
        tools.open(path, tools.policy(**change))
    assert tools.dump(path) == before


def refused(tools, path, pattern):
    with pytest.raises(LedgerError, match=pattern) as caught:
        tools.open(path)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # what is wrong; the mend


def test_a_newer_layout(ledger, tools, path):
    tools.edit(path, "PRAGMA user_version = 3")
    refused(tools, path, "layout 3, this fedpeft knows layout 2")
    assert not verify(path).ok


def test_another_database(tools, path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE events (event TEXT)")
    refused(tools, path, "not a ledger")


def test_not_a_database(tools, path):
    path.write_text("a diary, and no database at all\n" * 50, encoding="utf-8")
    refused(tools, path, "not a database")
    assert not verify(path).ok


def test_an_empty_file_is_not_a_new_ledger(tools, path):
    path.touch()
    refused(tools, path, "is empty")


def test_a_folder(tools, path):
    path.mkdir()
    refused(tools, path, "is not a file")


def test_a_missing_folder(tools, path):
    refused(tools, path.parent / "absent" / "ledger.sqlite", "No such file")


def test_a_missing_file_to_read(path):
    for read in (show, verify):
        with pytest.raises(LedgerError, match="cannot be read"):
            read(path)
    with pytest.raises(LedgerError, match="holds no ledger"):
        verify_all(path.parent)


def test_a_read_only_file(ledger, tools, path):
    path.chmod(0o400)
    refused(tools, path, "read-only")
    assert verify(path).ok


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file(ledger, tools, pay, path, share):
    for number in range(1, 5):
        pay(ledger, tools.request(f"run/{number}"), bytes(20_000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LedgerError):
        tools.open(path)
    with pytest.raises(LedgerError):
        ledger.charge(tools.request("run/5"))
    assert not verify(path).ok


def test_an_edited_row(ledger, tools, pay, path):
    pay(ledger, tools.request())
    tools.edit(path, "UPDATE events SET event = replace(event, '4.0', '40.0')")
    refused(tools, path, "event 1: it or its commitment was edited")


def test_a_deleted_file_is_not_begun_anew_by_a_running_site(ledger, tools, path):
    path.unlink()
    with pytest.raises(LedgerError, match="unable to open"):
        ledger.charge(tools.request())
    assert not path.exists()


def test_a_draft_left_by_a_crash_is_in_nobodys_way(tools, path):
    path.with_name(f".{path.name}.new").write_text("half a file", encoding="utf-8")
    path.with_name(f".{path.name}.new-journal").write_text("and its journal", encoding="utf-8")
    tools.open(path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["st-mary.sqlite", "st-mary.sqlite.lock"]


def test_a_ledger_whose_beginning_fails_does_not_exist(tools, path, monkeypatch):
    monkeypatch.setattr(store, "SCHEMA", "CREATE TABLE meta (id INTEGER); CREATE TABLE meta (id INTEGER);\n")
    with pytest.raises(LedgerError):
        tools.open(path)
    assert [p.name for p in path.parent.iterdir()] == ["st-mary.sqlite.lock"]


def test_threads_that_begin_together_begin_one_ledger(tools, path):
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(tools.open(path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    assert all(isinstance(ledger, Ledger) for ledger in opened)


@pytest.fixture
def no_space():
    """Call it with a size: no file of this process grows beyond it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_space_for_a_charge(ledger, tools, pay, path, no_space):
    before = tools.dump(path)
    no_space(10)
    with pytest.raises(LedgerError, match=r"make room on the disk.*nothing was charged"):
        ledger.charge(tools.request())
    no_space(resource.RLIM_INFINITY)
    assert tools.dump(path) == before
    pay(ledger, tools.request())


def test_no_space_for_a_release(ledger, tools, pay, path, no_space):
    assert ledger.charge(tools.request()) is None
    before = tools.dump(path)
    no_space(200_000)
    with pytest.raises(LedgerError, match="make room on the disk"):
        ledger.store("run/1", bytes(1_000_000))
    no_space(resource.RLIM_INFINITY)
    assert tools.dump(path) == before
    assert verify(path).ok
    pay(ledger, tools.request())


def test_a_ledger_held_by_another_program(ledger, tools, path, monkeypatch):
    monkeypatch.setattr(store, "_BUSY_S", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="locked"):
            ledger.charge(tools.request())
        other.execute("ROLLBACK")
    assert ledger.spent() == []


def test_a_transaction_has_reached_the_disk_when_it_returns(path, tools):
    """No test can cut the power; SQLite promises it at this level, and with a journal that is removed."""
    tools.open(path).close()
    for query_only in (False, True):
        with store.connect(path, query_only=query_only) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
