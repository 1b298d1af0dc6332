# SPDX-License-Identifier: Apache-2.0
"""The whole life of a policy as its ledger tells it: its bound, and what each run took of it.

Nothing is recomputed here; :func:`fedpeft.privacy.ledger.verify` does that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from fedpeft.privacy.ledger import rows, store
from fedpeft.privacy.ledger.budget import Budget


@dataclass(frozen=True, slots=True)
class Commitment:
    """What one run took before its first step; ``run_id`` is ``"filter"`` for what is outside any run."""

    run_id: str
    stage: str
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class PolicyLife:
    """A ledger's terms and everything that was committed under them.

    Attributes:
        epsilon: with ``delta``, the bound of the policy the ledger began under.
        commitments: in order.
    """

    identity: str
    unit: str
    epsilon: float
    delta: float
    commitments: tuple[Commitment, ...]

    @property
    def committed(self) -> Budget:
        """All of it; commitments add up in epsilon and in delta."""
        return self._sum(self.commitments)

    def apart_from(self, run_id: str) -> Budget:
        """What everything but one run took."""
        return self._sum(tuple(c for c in self.commitments if c.run_id != run_id))

    @staticmethod
    def _sum(commitments: tuple[Commitment, ...]) -> Budget:
        return Budget(
            math.fsum(commitment.epsilon for commitment in commitments),
            math.fsum(commitment.delta for commitment in commitments),
        )


def life(path: Path | str) -> PolicyLife:
    """Read the life of the policy of a ledger.

    Raises:
        LedgerError: it cannot be read.
    """
    path = Path(path)
    store.check_file(path, writable=False)
    with store.connect(path, query_only=True) as connection:
        store.check_format(connection, path)
        meta, commitments = rows.read_meta(connection), rows.read_commitments(connection)
    made = tuple(Commitment(row.run_id, row.stage, row.epsilon, row.delta) for row in commitments)
    return PolicyLife(meta.identity, meta.unit, meta.epsilon, meta.delta, made)
