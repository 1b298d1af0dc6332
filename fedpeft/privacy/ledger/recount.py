# SPDX-License-Identifier: Apache-2.0
"""Everything that a ledger says, recomputed; and what it says, for printing."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fedpeft.errors import EventError, LedgerError
from fedpeft.privacy import accountant
from fedpeft.privacy.events import GAUSSIAN, POISSON_GAUSSIAN, event_from_json
from fedpeft.privacy.ledger import rows, store
from fedpeft.privacy.ledger.admission import available
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.privacy.ledger.reports import FilterReport, LedgerRow, RunReport, VerifyReport
from fedpeft.privacy.ledger.terms import check_terms
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.renyi_filter import RenyiFilter
from fedpeft.types import FILTER_RUN, PrivacyEvent

_SLACK = 1e-6  # relative; the same figure on another machine


def show(path: Path | str) -> list[LedgerRow]:
    """All charges of a ledger, in order.

    Raises:
        LedgerError: it cannot be read.
    """
    path = Path(path)
    store.check_file(path, writable=False)
    with store.connect(path, query_only=True) as connection:
        store.check_format(connection, path)
        released = {request_id for (request_id,) in connection.execute("SELECT request_id FROM releases")}
        charges = rows.read_events(connection)
    try:
        return [
            LedgerRow(
                row.seq,
                row.time,
                row.run_id,
                row.request_id,
                event_from_json(row.event),
                row.request_id in released,
                row.hash,
            )
            for row in charges
        ]
    except EventError as error:
        raise LedgerError(f"ledger {path}: {error}; `fedpeft ledger verify` lists all problems") from error


def verify_all(folder: Path | str, policy: Policy | None = None) -> list[VerifyReport]:
    """Verify every ``*.sqlite`` of a folder, in order of their names.

    Raises:
        LedgerError: there is none.
    """
    paths = sorted(Path(folder).glob("*.sqlite"))
    if not paths:
        raise LedgerError(
            f"{folder}: holds no ledger (*.sqlite); give the path of a ledger or of their folder"
        )
    return [verify(path, policy) for path in paths]


def verify(path: Path | str, policy: Policy | None = None) -> VerifyReport:
    """Check the file, the hash chain, every event against its commitment, every epsilon twice.

    Nothing is written, except that SQLite undoes what a crash left half-written.

    Args:
        path: of the ledger.
        policy: the terms it must belong to; the report then says what they leave for the next run.

    Raises:
        LedgerError: there is no such file. Damage is a problem in the report.
    """
    path = Path(path)
    store.check_file(path, writable=False)
    try:
        with store.connect(path, query_only=True) as connection:
            store.check_format(connection, path)
            problems = [f"the file: {line}" for line in _integrity(connection)]
            problems += rows.chain_problems(connection)
            problems += _release_problems(connection)
            meta = rows.read_meta(connection)
            commitments = rows.read_commitments(connection)
            charges = rows.read_events(connection)
            released = Counter(name for (name,) in connection.execute("SELECT request_id FROM releases"))
            left = None if policy is None else available(connection, policy)
            if policy is not None:
                check_terms(meta, policy, path)
    except LedgerError as error:
        return VerifyReport(path, (str(error),))
    return replace(_Recount(path, meta, commitments, charges, released, problems).report(), left=left)


def _integrity(connection: sqlite3.Connection) -> list[str]:
    found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(10)")]
    return [] if found == ["ok"] else found


def _release_problems(connection: sqlite3.Connection) -> Iterator[str]:
    charged = {name for (name,) in connection.execute("SELECT DISTINCT request_id FROM events")}
    for request_id, digest, payload in connection.execute("SELECT request_id, digest, payload FROM releases"):
        if request_id not in charged:
            yield f"release {request_id!r}: was never charged"
        if payload is not None and hashlib.sha256(payload).hexdigest() != digest:
            yield f"release {request_id!r}: its payload was edited"


def _parts(promise: Promise) -> tuple[tuple[float, int], ...]:
    return tuple((event.noise_multiplier, event.steps) for event in promise.events)


class _Recount:
    """The sums of one ledger; collects problems on the way."""

    def __init__(
        self,
        path: Path,
        meta: rows.Meta,
        commitments: Sequence[rows.CommitmentRow],
        charges: Sequence[rows.EventRow],
        released: Counter[str],
        problems: list[str],
    ) -> None:
        self.path, self.meta, self.commitments, self.problems = path, meta, commitments, problems
        self.charges, self.released = charges, released
        self.events: dict[int, PrivacyEvent] = {}
        for row in charges:
            event = self._parse(f"event {row.seq}", row.event)
            if event is not None:
                self.events[row.seq] = event

    def report(self) -> VerifyReport:
        known = {row.run_id for row in self.commitments}
        uncommitted = [row.seq for row in self.charges if row.run_id not in known]
        self.problems += [f"event {seq}: no commitment covers it" for seq in uncommitted]
        by_run = [row for row in self.commitments if row.run_id != FILTER_RUN]
        runs = tuple(run for row in by_run if (run := self._run(row)) is not None)
        outside = [self._filter(row) for row in self.commitments if row.run_id == FILTER_RUN]
        epsilon = math.fsum(row.epsilon for row in self.commitments)
        delta = math.fsum(row.delta for row in self.commitments)
        for name, total, bound in (
            ("epsilon", epsilon, self.meta.epsilon),
            ("delta", delta, self.meta.delta),
        ):
            if not total <= bound * (1 + _SLACK):
                self.problems.append(
                    f"commitments: {name} adds up to {total:g}, above the policy's {bound:g}"
                )
        return VerifyReport(
            path=self.path,
            identity=self.meta.identity,
            unit=self.meta.unit,
            epsilon=self.meta.epsilon,
            delta=self.meta.delta,
            epsilon_committed=epsilon,
            delta_committed=delta,
            epsilon_spent=self._epsilon("all events", list(self.events.values()), self.meta.delta),
            num_events=len(self.charges),
            num_releases=self.released.total(),
            num_uncommitted=len(uncommitted),
            runs=runs,
            filter=outside[0] if outside else None,
            problems=tuple(self.problems),
        )

    def _run(self, row: rows.CommitmentRow) -> RunReport | None:
        name = f"run {row.run_id!r}"
        promise = self._promise(name, row.schedule)
        if promise is None:
            return None
        events = self._events_of(row)
        for event in events:
            if not promise.names(event):
                self.problems.append(f"{name}: was charged {event}, which it did not commit to")
        spent = sum(event.steps for event in events)
        if spent > promise.steps:
            self.problems.append(f"{name}: was charged {spent} steps, but committed to {promise.steps}")
        elif promise.is_overdrawn(events):
            self.problems.append(f"{name}: was charged more steps of little noise than it committed to")
        needed = self._epsilon(name, promise.events, row.delta)
        if not needed <= row.epsilon * (1 + _SLACK):
            self.problems.append(f"{name}: costs epsilon {needed:g}, but was committed with {row.epsilon:g}")
        second, which = self._second(name, promise, row)
        return RunReport(
            run_id=row.run_id,
            stage=row.stage,
            steps_committed=promise.pool(POISSON_GAUSSIAN).steps,
            steps_spent=sum(event.steps for event in events if event.kind == POISSON_GAUSSIAN),
            parts=_parts(promise.pool(POISSON_GAUSSIAN)),
            votes=_parts(promise.pool(GAUSSIAN)),
            sampling_rate=promise.events[-1].sampling_rate,
            epsilon_committed=row.epsilon,
            delta_committed=row.delta,
            epsilon_spent=self._epsilon(name, events, row.delta),
            second_opinion=second,
            second_accountant=which,
            num_unreleased=self._unreleased(row),
        )

    def _filter(self, row: rows.CommitmentRow) -> FilterReport | None:
        try:
            made = RenyiFilter.from_json(row.schedule)
        except EventError as error:
            self.problems.append(f"the filter: {error}")
            return None
        self._same_unit("the filter", made.unit)
        events = self._events_of(row)
        spent, second = made.spent(events), accountant.renyi_second_opinion(events, made.order)
        for figure, bound, said in (
            (made.epsilon, row.epsilon, "guarantees epsilon"),
            (made.delta, row.delta, "guarantees delta"),
            (spent, made.budget, "was charged divergences of"),
            (second, made.budget, "was charged, says opacus, divergences of"),
        ):
            if not figure <= bound * (1 + _SLACK):
                self.problems.append(f"the filter: {said} {figure:g}, above {bound:g}")
        return FilterReport(
            order=made.order,
            budget=made.budget,
            spent=spent,
            second_opinion=second,
            steps_spent=sum(event.steps for event in events),
            epsilon_committed=row.epsilon,
            delta_committed=row.delta,
            num_unreleased=self._unreleased(row),
        )

    def _events_of(self, row: rows.CommitmentRow) -> list[PrivacyEvent]:
        charges = [charge.seq for charge in self.charges if charge.run_id == row.run_id]
        return [self.events[seq] for seq in charges if seq in self.events]

    def _unreleased(self, row: rows.CommitmentRow) -> int:
        charged = [charge.request_id for charge in self.charges if charge.run_id == row.run_id]
        return len(charged) - len(set(charged) & self.released.keys())

    def _second(self, name: str, promise: Promise, row: rows.CommitmentRow) -> tuple[float, str]:
        if not 0 < row.delta < 1:
            return math.nan, ""
        opinion = accountant.second_opinion(promise.events, row.delta)
        if opinion.epsilon - opinion.tolerance > row.epsilon:
            self.problems.append(
                f"{name}: was committed with epsilon {row.epsilon:g}; opacus says {opinion.epsilon:g}"
            )
        return opinion.epsilon, opinion.accountant

    def _parse(self, name: str, text: str) -> PrivacyEvent | None:
        try:
            event = event_from_json(text)
        except EventError as error:
            self.problems.append(f"{name}: {error}")
            return None
        return event if self._same_unit(name, event.unit) else None

    def _promise(self, name: str, text: str) -> Promise | None:
        try:
            promise = Promise.from_json(text)
        except EventError as error:
            self.problems.append(f"{name}: {error}")
            return None
        return promise if self._same_unit(name, promise.unit) else None

    def _same_unit(self, name: str, unit: str) -> bool:
        if unit != self.meta.unit:
            self.problems.append(f"{name}: protects {unit!r}, the ledger {self.meta.unit!r}")
        return unit == self.meta.unit

    def _epsilon(self, name: str, events: Sequence[PrivacyEvent], delta: float) -> float:
        if not 0 < delta < 1:
            self.problems.append(f"{name}: delta {delta} lies outside (0, 1)")
            return math.nan
        return accountant.epsilon(events, delta)
