# SPDX-License-Identifier: Apache-2.0
"""Whether a request may be charged: by what its run committed to, or by the filter for all outside a run.

Refusals are functions of the request, the policy and the ledger; nothing here sees data.
"""

from __future__ import annotations

import math
import sqlite3
from datetime import date

from fedpeft.errors import EventError, LedgerError, Refusal
from fedpeft.privacy.events import POISSON_GAUSSIAN
from fedpeft.privacy.ledger import rows
from fedpeft.privacy.ledger.budget import Budget, what_is_left
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.privacy.metric import Payable
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.renyi_filter import RenyiFilter
from fedpeft.types import FILTER_RUN, PrivacyEvent, RefusalCode, Schedule

_BETWEEN = "+"


def admit(
    connection: sqlite3.Connection, policy: Policy, request: Payable, event: PrivacyEvent, today: date
) -> rows.CommitmentRow:
    """The commitment that pays for the event.

    Raises:
        Refusal: ``ROLLBACK``, ``POLICY``, ``EXPIRED`` or ``BUDGET``.
    """
    if request.ledger_head and not rows.had_head(connection, request.ledger_head):
        raise Refusal(RefusalCode.ROLLBACK, "ledger_head: this ledger never had it; it is an older copy")
    commitment = rows.find_commitment(connection, request.run_id)
    if commitment is None:
        raise Refusal(RefusalCode.POLICY, "run_id: was not committed")
    check_stage(policy, request.stage)
    check_lowered(connection, policy)
    if request.run_id == FILTER_RUN:
        _admit_by_filter(connection, policy, commitment, event, today)
    else:
        _admit_by_run(connection, policy, commitment, request, event, today)
    return commitment


def available(connection: sqlite3.Connection, policy: Policy) -> Budget:
    """What the next run may take at most; the filter's part is never among it."""
    committed = rows.read_commitments(connection)
    taken = [Budget(row.epsilon, row.delta) for row in committed]
    runs = sum(row.run_id != FILTER_RUN for row in committed)
    if policy.filter is not None and runs == len(committed):
        taken.append(Budget(policy.filter.epsilon, policy.filter.delta))
    return what_is_left(policy, taken, runs)


def begin_filter(connection: sqlite3.Connection, policy: Policy, time: str) -> None:
    """Set the filter's part aside, for life, or check that it is the one that was set aside.

    Raises:
        LedgerError: too little is left for it, or it is another one than the ledger's.
    """
    terms = policy.filter
    if terms is None:
        return
    step = PrivacyEvent(POISSON_GAUSSIAN, terms.noise_multiplier, terms.sampling_rate, 1, policy.unit)
    try:
        made = RenyiFilter.planned(terms.epsilon, terms.delta, step)
    except EventError as error:
        raise LedgerError(f"policy: {error}") from error
    known = rows.find_commitment(connection, FILTER_RUN)
    if known is not None:
        if (known.schedule, known.epsilon, known.delta) != (made.to_json(), terms.epsilon, terms.delta):
            raise LedgerError(
                f"policy: filter: is fixed for life as {known.schedule} for epsilon = {known.epsilon:g}, "
                f"delta = {known.delta:g}; set the terms it began with"
            )
        return
    committed = rows.read_commitments(connection)
    left = Budget(
        policy.epsilon - math.fsum(row.epsilon for row in committed),
        policy.delta - math.fsum(row.delta for row in committed),
    )
    if terms.epsilon > left.epsilon or terms.delta > left.delta:
        raise LedgerError(
            f"policy: filter: needs epsilon = {terms.epsilon:g} and delta = {terms.delta:g}, but "
            f"{max(left.epsilon, 0):g} and {max(left.delta, 0):g} are left; lower its part"
        )
    part = Budget(terms.epsilon, terms.delta)
    rows.append_commitment(connection, time, FILTER_RUN, FILTER_RUN, made.to_json(), part)


def check_stage(policy: Policy, stage: str) -> None:
    """Refuse a stage that the policy does not list.

    Raises:
        Refusal: ``POLICY``.
    """
    if stage not in policy.stages:
        raise Refusal(RefusalCode.POLICY, f"stage = {stage!r:.60}: is not among the policy's")


def stage_text(schedule: Schedule) -> str:
    """All stages of a schedule, as a commitment's row holds them."""
    return _BETWEEN.join(schedule.stages)


def stages_of(commitment: rows.CommitmentRow) -> tuple[str, ...]:
    """What :func:`stage_text` joined."""
    return tuple(commitment.stage.split(_BETWEEN))


def check_lowered(connection: sqlite3.Connection, policy: Policy) -> None:
    """Refuse all that is new once the policy allows less than what is committed.

    Raises:
        Refusal: ``BUDGET``.
    """
    if math.fsum(row.epsilon for row in rows.read_commitments(connection)) > policy.epsilon + 1e-9:
        raise Refusal(RefusalCode.BUDGET, "epsilon: was lowered below what is committed")


def check_date(policy: Policy, today: date) -> None:
    """Refuse what is new after the policy's last day.

    Raises:
        Refusal: ``EXPIRED``.
    """
    if today > policy.expires:
        raise Refusal(RefusalCode.EXPIRED, f"expires = {policy.expires}: has passed")


def _admit_by_run(
    connection: sqlite3.Connection,
    policy: Policy,
    commitment: rows.CommitmentRow,
    request: Payable,
    event: PrivacyEvent,
    today: date,
) -> None:
    if request.stage not in stages_of(commitment):
        raise Refusal(RefusalCode.POLICY, f"run_id: was committed for {commitment.stage}")
    promise = Promise.from_json(commitment.schedule)
    if not promise.names(event):
        raise Refusal(RefusalCode.POLICY, "noise_multiplier or sampling_rate: not as committed")
    check_date(policy, today)
    charged = [one for one in rows.charged_events(connection, request.run_id) if one.kind == event.kind]
    left = promise.pool(event.kind).steps_left(charged, event.noise_multiplier)
    attempts = rows.attempts(connection, request.run_id)
    # A new request may not eat what is kept for crashes; the reserve is of rounds, votes have none.
    if event.kind == POISSON_GAUSSIAN and request.request_id not in attempts:
        paid_again = sum(number - 1 for number in attempts.values())
        left -= max(0, policy.crash_reserve - paid_again) * event.steps
    if event.steps > left:
        raise Refusal(RefusalCode.BUDGET, f"local_steps = {event.steps}: {left} are left of the run")


def _admit_by_filter(
    connection: sqlite3.Connection,
    policy: Policy,
    commitment: rows.CommitmentRow,
    event: PrivacyEvent,
    today: date,
) -> None:
    if policy.filter is None:
        raise Refusal(RefusalCode.POLICY, "run_id: the policy allows nothing outside a run")
    check_date(policy, today)
    spent = rows.charged_events(connection, FILTER_RUN)
    if not RenyiFilter.from_json(commitment.schedule).covers([*spent, event]):
        raise Refusal(RefusalCode.BUDGET, "noise_multiplier, local_steps: exceed what the filter has left")
