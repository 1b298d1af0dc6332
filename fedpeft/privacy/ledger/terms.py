# SPDX-License-Identifier: Apache-2.0
"""Whether a ledger belongs to a policy."""

from __future__ import annotations

from pathlib import Path

from fedpeft.errors import LedgerError
from fedpeft.privacy.ledger.rows import Meta
from fedpeft.privacy.policy import Policy


def check_terms(meta: Meta, policy: Policy, path: Path) -> None:
    """Refuse the ledger of another identity, unit or delta, and a policy that grew.

    Raises:
        LedgerError: naming the field and both values.
    """
    for field, theirs, ours in (
        ("identity", meta.identity, policy.identity),
        ("unit", meta.unit, policy.unit),
        ("delta", meta.delta, policy.delta),
    ):
        if theirs != ours:
            raise LedgerError(
                f"ledger {path}: has {field} = {theirs!r}, the policy {ours!r}; they must agree, so give "
                "the policy that the ledger began with"
            )
    if policy.epsilon > meta.epsilon:
        raise LedgerError(
            f"ledger {path}: began under epsilon = {meta.epsilon:g}, which cannot be raised to "
            f"{policy.epsilon:g} afterwards; set the policy's epsilon to at most {meta.epsilon:g}"
        )
