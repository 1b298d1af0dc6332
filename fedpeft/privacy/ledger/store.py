# SPDX-License-Identifier: Apache-2.0
"""The ledger as a file: safe ways to make and to open it.

One SQLite file for each site identity, mode 0600, with SQLite's rollback journal and
``synchronous=EXTRA``: when a transaction has returned, the file *and* the removal of its journal are on
the disk (``FULL`` leaves the latter to the operating system, and a power cut could then undo a charge
whose release has left). Every operation opens a connection of its own, so threads, forks and several
processes need no further care.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from fedpeft.errors import LedgerError
from fedpeft.privacy.ledger.rows import SCHEMA, SCHEMA_VERSION, Meta

_APPLICATION_ID = 0x66707066  # "fppf": tells a ledger from any other SQLite file
_BUSY_S = 60.0  # a charge lasts milliseconds, a commitment with its accounting a few seconds


def create(path: Path, meta: Meta) -> None:
    """Write an empty ledger whole, or nothing: it is made beside ``path`` and then moved there.

    Raises:
        LedgerError: no such folder, no space, no right to write.
    """
    draft = path.with_name(f".{path.name}.new")
    try:
        # A journal that a crash left beside an earlier draft would be played back into this one.
        for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with transaction(draft) as connection:
            for statement in _statements(SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            values = (meta.identity, meta.unit, meta.epsilon, meta.delta)
            connection.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", values)
            connection.execute("INSERT INTO head VALUES (1, 0, ?)", (meta.genesis,))
        os.replace(draft, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise LedgerError(f"ledger {path}: cannot be created: {error.strerror}; mend its folder") from error
    finally:
        with suppress(OSError):  # what is wrong with the folder is told already
            draft.unlink(missing_ok=True)


def check_file(path: Path, *, writable: bool) -> None:
    """Refuse what cannot be a ledger before SQLite touches it.

    Raises:
        LedgerError: absent, a folder, empty, or (where it matters) read-only.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise LedgerError(f"ledger {path}: cannot be read: {error.strerror}; check the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise LedgerError(f"ledger {path}: is not a file; give the path of a ledger file")
    if status.st_size == 0:
        raise LedgerError(f"ledger {path}: is empty, so what was spent is lost; restore the newest backup")
    # The mode is looked at as well because everything is writable to a superuser.
    if writable and not (status.st_mode & stat.S_IWUSR and os.access(path, os.W_OK)):
        raise LedgerError(f"ledger {path}: is read-only; give its owner the right to write")


def make_private(path: Path) -> None:
    """Set mode 0600, which SQLite's journal inherits.

    Raises:
        LedgerError: the file belongs to somebody else.
    """
    try:
        path.chmod(0o600)
    except OSError as error:
        raise LedgerError(
            f"ledger {path}: cannot be made private: {error.strerror}; run as its owner"
        ) from error


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse another kind of file and a newer layout.

    Raises:
        LedgerError: with the version met and the version known.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION_ID:
        raise LedgerError(f"ledger {path}: is a database, but not a ledger; give another path")
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"ledger {path}: has layout {version}, this fedpeft knows layout {SCHEMA_VERSION}; use the "
            "version that wrote it, or a newer one"
        )


@contextmanager
def connect(path: Path, *, query_only: bool = False) -> Iterator[sqlite3.Connection]:
    """Open an existing ledger file; SQLite's errors become a :class:`LedgerError` of one line.

    With ``query_only`` nothing can be written, but SQLite still undoes a transaction that a crash left
    half-written, which a read-only connection could not.
    """
    try:
        uri = f"{path.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA foreign_keys = ON")
            if query_only:
                connection.execute("PRAGMA query_only = ON")
            yield connection
    except sqlite3.Error as error:
        raise LedgerError(f"ledger {path}: {error}; {_mend(error)}") from error


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """Do everything or nothing; other writers wait from the first statement on."""
    with connect(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says that a statement is complete (``executescript`` would commit)."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _mend(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return f"another process held it for {_BUSY_S:g} s; end that process; nothing was charged"
    if "full" in text or "I/O" in text:
        return "make room on the disk and check it; nothing was charged"
    if "readonly" in text or "unable to open" in text:
        return "make the file and its folder writable to their owner; nothing was charged"
    return "the file is damaged or was edited; restore the newest backup"
