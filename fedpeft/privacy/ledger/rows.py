# SPDX-License-Identifier: Apache-2.0
"""The ledger's tables, what stands in their rows, and the hash chain through them.

Rows are never changed. Each commitment hashes its predecessor, each event its predecessor and its
commitment, the first of either the ledger's identity and terms; ``head`` names the newest event, so that
a row cut off or added at the end is seen as well. This shows accidents and restored backups; it does not
bind the organization's own administrator, who can write the whole file anew.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import astuple, dataclass, replace

from fedpeft.privacy.events import event_from_json
from fedpeft.privacy.ledger.budget import Budget
from fedpeft.types import PrivacyEvent

SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    identity TEXT NOT NULL, unit TEXT NOT NULL, epsilon REAL NOT NULL, delta REAL NOT NULL
);
CREATE TABLE commitments (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, run_id TEXT NOT NULL UNIQUE, stage TEXT NOT NULL,
    schedule TEXT NOT NULL, epsilon REAL NOT NULL, delta REAL NOT NULL,
    prev_hash TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, run_id TEXT NOT NULL REFERENCES commitments (run_id),
    request_id TEXT NOT NULL, request_digest TEXT NOT NULL, event TEXT NOT NULL,
    prev_hash TEXT NOT NULL, hash TEXT NOT NULL UNIQUE
);
CREATE INDEX events_by_request ON events (request_id);
CREATE INDEX events_by_run ON events (run_id);
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TABLE releases (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, request_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL,
    digest TEXT NOT NULL, payload BLOB
);
"""
SCHEMA += "".join(
    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
    for table, verbs in {
        "meta": ("UPDATE", "DELETE"),
        "commitments": ("UPDATE", "DELETE"),
        "events": ("UPDATE", "DELETE"),
        "head": ("DELETE",),
        "releases": ("DELETE",),
    }.items()
    for verb in verbs
)
# A payload may be forgotten, never replaced.
SCHEMA += """
CREATE TRIGGER releases_forget_only BEFORE UPDATE ON releases
WHEN NEW.payload IS NOT NULL OR (NEW.seq, NEW.time, NEW.request_id, NEW.run_id, NEW.digest)
    IS NOT (OLD.seq, OLD.time, OLD.request_id, OLD.run_id, OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose ledger it is, and the terms it began under."""

    identity: str
    unit: str
    epsilon: float
    delta: float

    @property
    def genesis(self) -> str:
        """The hash that stands before the first row."""
        return chain_hash(
            "fedpeft ledger", SCHEMA_VERSION, self.identity, self.unit, self.epsilon, self.delta
        )


@dataclass(frozen=True, slots=True)
class CommitmentRow:
    """A run that was promised whole. ``schedule`` is a JSON list of the events that all its steps make."""

    seq: int
    time: str
    run_id: str
    stage: str
    schedule: str
    epsilon: float
    delta: float
    prev_hash: str
    hash: str

    def computed_hash(self) -> str:
        """What ``hash`` must be."""
        return chain_hash(
            self.prev_hash, self.seq, self.time, self.run_id, self.stage, self.schedule, self.epsilon,
            self.delta,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventRow:
    """One charge."""

    seq: int
    time: str
    run_id: str
    request_id: str
    request_digest: str
    event: str
    prev_hash: str
    hash: str

    def computed_hash(self, commitment_hash: str) -> str:
        """What ``hash`` must be, given that of the run's commitment."""
        return chain_hash(
            self.prev_hash, self.seq, self.time, self.run_id, self.request_id, self.request_digest,
            self.event, commitment_hash,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Charge:
    """What a new event row is made of, before its place in the chain is known."""

    time: str
    run_id: str
    request_id: str
    request_digest: str
    event: str


def chain_hash(*parts: str | int | float) -> str:
    """SHA-256 of the parts as one JSON array without spaces; floats as Python writes them."""
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def read_meta(connection: sqlite3.Connection) -> Meta:
    """Whose ledger it is."""
    row = connection.execute("SELECT identity, unit, epsilon, delta FROM meta").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table meta is empty")
    return Meta(*row)


def read_commitments(connection: sqlite3.Connection) -> list[CommitmentRow]:
    """All runs, in order."""
    return [CommitmentRow(*row) for row in connection.execute("SELECT * FROM commitments ORDER BY seq")]


def read_events(connection: sqlite3.Connection) -> list[EventRow]:
    """All charges, in order."""
    return [EventRow(*row) for row in connection.execute("SELECT * FROM events ORDER BY seq")]


def read_head(connection: sqlite3.Connection) -> tuple[int, str]:
    """Sequence number and hash of the newest event."""
    row = connection.execute("SELECT seq, hash FROM head").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table head is empty")
    return int(row[0]), str(row[1])


def had_head(connection: sqlite3.Connection, head: str) -> bool:
    """Whether the hash is that of a charge here, or of the empty ledger."""
    if head == read_meta(connection).genesis:
        return True
    return connection.execute("SELECT 1 FROM events WHERE hash = ?", (head,)).fetchone() is not None


def append_commitment(
    connection: sqlite3.Connection, time: str, run_id: str, stage: str, schedule: str, part: Budget
) -> None:
    """Add a run to the chain of commitments."""
    newest = connection.execute("SELECT seq, hash FROM commitments ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = newest or (0, read_meta(connection).genesis)
    row = CommitmentRow(seq + 1, time, run_id, stage, schedule, part.epsilon, part.delta, previous, "")
    values = astuple(replace(row, hash=row.computed_hash()))
    connection.execute("INSERT INTO commitments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def append_event(connection: sqlite3.Connection, charge: Charge, commitment_hash: str) -> None:
    """Add a charge to the chain of events and move the head to it."""
    seq, head = read_head(connection)
    row = EventRow(
        seq + 1, charge.time, charge.run_id, charge.request_id, charge.request_digest, charge.event, head, ""
    )
    row = replace(row, hash=row.computed_hash(commitment_hash))
    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(row))
    connection.execute("UPDATE head SET seq = ?, hash = ?", (row.seq, row.hash))


def append_release(
    connection: sqlite3.Connection, time: str, request_id: str, digest: str, payload: bytes, kept: int | None
) -> None:
    """Keep a release, and with ``kept`` forget the payloads of all but so many newest of its run."""
    connection.execute(
        "INSERT INTO releases (time, request_id, run_id, digest, payload) "
        "VALUES (?1, ?2, (SELECT run_id FROM events WHERE request_id = ?2 LIMIT 1), ?3, ?4)",
        (time, request_id, digest, payload),
    )
    if kept is not None:
        connection.execute(
            "UPDATE releases SET payload = NULL WHERE payload IS NOT NULL AND run_id = "
            "(SELECT run_id FROM releases WHERE request_id = ?1) AND seq NOT IN (SELECT seq FROM releases "
            "AS others WHERE others.run_id = releases.run_id ORDER BY seq DESC LIMIT ?2)",
            (request_id, kept),
        )


def find_commitment(connection: sqlite3.Connection, run_id: str) -> CommitmentRow | None:
    """The commitment of a run."""
    row = connection.execute("SELECT * FROM commitments WHERE run_id = ?", (run_id,)).fetchone()
    return CommitmentRow(*row) if row else None


def charged_events(connection: sqlite3.Connection, run_id: str) -> list[PrivacyEvent]:
    """What a run was charged, equal events added up.

    They are told apart by their text: SQLite's own reading of a number may differ in the last bit.
    """
    query = "SELECT event, COUNT(*) FROM events WHERE run_id = ? GROUP BY event"
    found = [(event_from_json(text), count) for text, count in connection.execute(query, (run_id,))]
    return [replace(event, steps=count * event.steps) for event, count in found]


def attempts(connection: sqlite3.Connection, run_id: str) -> dict[str, int]:
    """How often each request of a run was charged: more than once after a crash."""
    query = "SELECT request_id, COUNT(*) FROM events WHERE run_id = ? GROUP BY request_id"
    return dict(connection.execute(query, (run_id,)).fetchall())


def chain_problems(connection: sqlite3.Connection) -> list[str]:
    """Recompute every hash; one line for each row that does not follow from the one before."""
    problems = []
    genesis = read_meta(connection).genesis
    previous, hash_of_run = (0, genesis), {}
    for commitment in read_commitments(connection):
        if (commitment.seq - 1, commitment.prev_hash) != previous:
            problems.append(f"commitment {commitment.seq}: does not follow the one before")
        if commitment.hash != commitment.computed_hash():
            problems.append(f"commitment {commitment.seq}: was edited")
        previous = (commitment.seq, commitment.hash)
        hash_of_run[commitment.run_id] = commitment.hash
    previous = (0, genesis)
    for event in read_events(connection):
        if (event.seq - 1, event.prev_hash) != previous:
            problems.append(f"event {event.seq}: does not follow the one before")
        if event.hash != event.computed_hash(hash_of_run.get(event.run_id, "")):
            problems.append(f"event {event.seq}: it or its commitment was edited")
        previous = (event.seq, event.hash)
    if read_head(connection) != previous:
        problems.append(f"the newest event is {previous[0]}, but the head says {read_head(connection)[0]}")
    return problems
