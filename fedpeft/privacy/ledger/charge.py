# SPDX-License-Identifier: Apache-2.0
"""What may be spent and what was: commitments, charges, and the releases they paid for.

The order of a request: charge, durably; compute; store the release, durably; let it leave. A crash in
between costs at most that one charge, and never hides a release.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fedpeft.errors import EventError, LedgerError, Refusal
from fedpeft.privacy.events import check_event, check_name, event_from_json, event_to_json
from fedpeft.privacy.ledger import rows, store
from fedpeft.privacy.ledger.admission import (
    admit,
    available,
    begin_filter,
    check_date,
    check_lowered,
    check_stage,
    stage_text,
)
from fedpeft.privacy.ledger.budget import Budget, smallest_share
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.privacy.ledger.terms import check_terms
from fedpeft.privacy.ledger.turn import Turn
from fedpeft.privacy.metric import Payable
from fedpeft.privacy.policy import Policy
from fedpeft.types import FILTER_RUN, PrivacyEvent, RefusalCode, Schedule

_WAIT_S = 3600.0


class Ledger:
    """The budget of one site identity. Safe to share between threads and between processes."""

    def __init__(
        self, path: Path, policy: Policy, clock: Callable[[], datetime], wait_s: float, kept: int | None
    ) -> None:
        """Use :meth:`open`, which checks the file."""
        self.path = path
        self.policy = policy
        self._clock = clock
        self._wait_s = wait_s
        self._kept_releases = kept
        self._turn: Turn | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        policy: Policy,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_s: float = _WAIT_S,
        kept_releases: int | None = None,
    ) -> Ledger:
        """Open the ledger of the policy's identity, or begin it.

        Args:
            path: of the file; its folder must exist.
            policy: the terms. Its epsilon may be lowered later, never raised.
            clock: the time, for the rows and for the policy's last day.
            wait_s: how long a request waits for another one in work.
            kept_releases: keep the payloads of only this many newest releases of each run. A simulation
                with many sites saves disk with it; an older request asked again is then refused.

        Raises:
            LedgerError: the file is another identity's, was edited, is damaged, read-only or newer; or the
                policy's filter is not the ledger's, or too little is left for it.
        """
        path = Path(path)
        if not path.exists():
            cls._begin(path, policy, wait_s)
        store.check_file(path, writable=True)
        with store.connect(path, query_only=True) as connection:
            store.check_format(connection, path)
            check_terms(rows.read_meta(connection), policy, path)
            problems = rows.chain_problems(connection)
        if problems:
            raise LedgerError(f"ledger {path}: {problems[0]}; restore the newest backup")
        store.make_private(path)
        ledger = cls(path, policy, clock, wait_s, kept_releases)
        if policy.filter is not None:
            with store.transaction(path) as connection:
                begin_filter(connection, policy, ledger._now())
        return ledger

    @staticmethod
    def _begin(path: Path, policy: Policy, wait_s: float) -> None:
        turn = Turn.take(path, "", wait_s)
        try:
            if not path.exists():
                store.create(path, rows.Meta(policy.identity, policy.unit, policy.epsilon, policy.delta))
        finally:
            turn.release()

    @property
    def head(self) -> str:
        """Hash of the newest charge; it leaves with releases and comes back with requests."""
        with store.connect(self.path, query_only=True) as connection:
            return rows.read_head(connection)[1]

    def spent(self, run_id: str | None = None) -> list[PrivacyEvent]:
        """Every event charged, in order, of one run or of all."""
        with store.connect(self.path, query_only=True) as connection:
            charged = rows.read_events(connection)
        return [event_from_json(row.event) for row in charged if run_id in (None, row.run_id)]

    def available(self) -> Budget:
        """What the next run may take: the figures to calibrate it for. Zero when nothing is left."""
        with store.connect(self.path, query_only=True) as connection:
            return available(connection, self.policy)

    def has_run(self, run_id: str) -> bool:
        """Whether a run was committed here."""
        with store.connect(self.path, query_only=True) as connection:
            return rows.find_commitment(connection, run_id) is not None

    def commit(self, schedule: Schedule) -> Budget:
        """Promise a run its whole schedule; the same schedule again changes nothing.

        Returns:
            The part of the budget that the run takes.

        Raises:
            Refusal: ``MALFORMED`` for a field out of range, ``POLICY`` for another unit or a stage that
                is not allowed, ``REPLAY`` for a known run with another schedule, ``EXPIRED`` after the
                policy's last day, ``BUDGET`` if what is left does not cover it. Nothing was changed.
        """
        promise = _promise(schedule)
        if promise.unit != self.policy.unit:
            raise Refusal(
                RefusalCode.POLICY, f"unit = {promise.unit!r}: the policy's is {self.policy.unit!r}"
            )
        for stage in schedule.stages:
            check_stage(self.policy, stage)
        text, stages = promise.to_json(), stage_text(schedule)
        with store.transaction(self.path) as connection:
            known = rows.find_commitment(connection, schedule.run_id)
            if known is not None:
                if (known.stage, known.schedule) != (stages, text):
                    raise Refusal(RefusalCode.REPLAY, "run_id: committed before with another schedule")
                check_lowered(connection, self.policy)
                return Budget(known.epsilon, known.delta)
            check_date(self.policy, self._clock().date())
            left = available(connection, self.policy)
            cost = smallest_share(promise.events, left)
            if cost is None:
                raise Refusal(
                    RefusalCode.BUDGET,
                    f"schedule {text:.200}: needs more than the epsilon = {left.epsilon:g} and delta = "
                    f"{left.delta:g} that are left",
                )
            rows.append_commitment(connection, self._now(), schedule.run_id, stages, text, cost)
            return cost

    def charge(self, request: Payable) -> bytes | None:
        """Pay for a request before its first private number is computed.

        Returns:
            ``None`` when the charge is on the disk: compute, then :meth:`store` (or :meth:`abandon`).
            Otherwise the release that was stored for this very request, and nothing was charged.

        Raises:
            Refusal: ``MALFORMED``, ``REPLAY`` (the id is known with another content, or its release is no
                longer kept), ``ROLLBACK`` (this ledger never had the echoed head), ``POLICY`` (no such
                commitment), ``EXPIRED``, ``BUDGET`` (the run's steps are used up), or ``UNAVAILABLE``
                (another request was in work for too long). Nothing was changed.
            LedgerError: the file cannot be written; nothing was charged.
        """
        event = PrivacyEvent(
            request.kind,
            request.noise_multiplier,
            request.sampling_rate,
            request.local_steps,
            self.policy.unit,
        )
        _well_formed(event, run_id=request.run_id, request_id=request.request_id)
        turn = Turn.take(self.path, request.request_id, self._wait_s)
        try:
            with store.transaction(self.path) as connection:
                stored = _stored_release(connection, request)
                if stored is None:
                    self._append_event(connection, request, event)
        except BaseException:
            turn.release()
            raise
        if stored is not None:
            turn.release()
            return stored
        self._turn = turn
        return None

    def store(self, request_id: str, payload: bytes) -> None:
        """Keep what is about to leave, so that the same request gets it again; then let the next one in.

        Raises:
            LedgerError: it was not charged by this object, or was given up, or the file cannot be written.
                The release must not leave.
        """
        turn = self._turn
        if turn is None or turn.request_id != request_id or not turn.held:
            raise LedgerError(f"request {request_id!r}: is not in work here, so no release of it may leave")
        digest = hashlib.sha256(payload).hexdigest()
        with store.transaction(self.path) as connection:
            rows.append_release(connection, self._now(), request_id, digest, payload, self._kept_releases)
        turn.release()

    def abandon(self, request_id: str) -> None:
        """Let the next request in without a release; the charge stays. Harmless after :meth:`store`."""
        turn = self._turn
        if turn is not None and turn.request_id == request_id:
            turn.release()

    def close(self) -> None:
        """Let other holders of the ledger in; what is in work here stays charged."""
        if self._turn is not None:
            self._turn.release()

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")

    def _append_event(self, connection: sqlite3.Connection, request: Payable, event: PrivacyEvent) -> None:
        """Refuse, or write the charge."""
        commitment = admit(connection, self.policy, request, event, self._clock().date())
        charge = rows.Charge(
            self._now(), request.run_id, request.request_id, request.digest(), event_to_json(event)
        )
        rows.append_event(connection, charge, commitment.hash)


def _well_formed(event: PrivacyEvent, **names: str) -> None:
    try:
        for field, name in names.items():
            check_name(field, name)
        check_event(event)
    except EventError as error:
        raise Refusal(RefusalCode.MALFORMED, str(error)) from error


def _promise(schedule: Schedule) -> Promise:
    try:
        check_name("run_id", schedule.run_id)
        if schedule.run_id == FILTER_RUN:
            raise EventError(f"run_id = {FILTER_RUN!r}: stands for what is outside any run; name the run")
        return Promise.of(schedule)
    except EventError as error:
        raise Refusal(RefusalCode.MALFORMED, str(error)) from error


def _stored_release(connection: sqlite3.Connection, request: Payable) -> bytes | None:
    known = connection.execute(
        "SELECT request_digest FROM events WHERE request_id = ? LIMIT 1", (request.request_id,)
    ).fetchone()
    if known is None:
        return None
    if known[0] != request.digest():
        raise Refusal(RefusalCode.REPLAY, "request_id: is known with another content")
    row = connection.execute(
        "SELECT payload FROM releases WHERE request_id = ?", (request.request_id,)
    ).fetchone()
    if row is None:
        return None  # charged, then something went wrong: the caller charges again
    if row[0] is None:
        raise Refusal(RefusalCode.REPLAY, "request_id: its release is no longer kept")
    return bytes(row[0])
