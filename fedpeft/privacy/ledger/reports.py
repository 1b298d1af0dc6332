# SPDX-License-Identifier: Apache-2.0
"""What a recount of a ledger says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from fedpeft.privacy.ledger.budget import Budget
from fedpeft.types import PrivacyEvent


@dataclass(frozen=True, slots=True)
class RunReport:
    """One committed run.

    Attributes:
        stage: what it was committed for; several are joined by ``+``.
        parts: ``(noise_multiplier, steps)`` as committed.
        votes: ``(noise_multiplier, releases)`` of every unit, committed beside the steps.
        epsilon_committed: with ``delta_committed``, the part of the budget it took before its first step.
        epsilon_spent: of what it was charged so far, at ``delta_committed``: a diagnostic, no guarantee.
        second_opinion: opacus' epsilon of the whole commitment at ``delta_committed``.
        second_accountant: which of opacus' accountants that is, ``"prv"`` or ``"rdp"``.
        num_unreleased: charges without a stored release: a crash, or a request in work.
    """

    run_id: str
    stage: str
    steps_committed: int
    steps_spent: int
    parts: tuple[tuple[float, int], ...]
    votes: tuple[tuple[float, int], ...]
    sampling_rate: float
    epsilon_committed: float
    delta_committed: float
    epsilon_spent: float
    second_opinion: float
    second_accountant: str
    num_unreleased: int


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What was served outside any run.

    Attributes:
        order: of the Renyi divergences that are added up.
        budget: most that they may add up to.
        spent: what they add up to.
        second_opinion: the same sum by opacus.
        epsilon_committed: with ``delta_committed``, what the budget stands for.
    """

    order: int
    budget: float
    spent: float
    second_opinion: float
    steps_spent: int
    epsilon_committed: float
    delta_committed: float
    num_unreleased: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What became of checking one ledger.

    Attributes:
        problems: one line each; none means that everything agrees.
        epsilon: the bound of the policy the ledger began under, as is ``delta``.
        epsilon_committed: sum over runs and the filter; with the sum ``delta_committed``, the guarantee
            so far.
        epsilon_spent: of all charges together, at ``delta``: a diagnostic.
        num_uncommitted: events that no commitment covers.
        left: what the next run may take under the policy that was given.
    """

    path: Path
    problems: tuple[str, ...]
    identity: str = ""
    unit: str = ""
    epsilon: float = math.nan
    delta: float = math.nan
    epsilon_committed: float = math.nan
    delta_committed: float = math.nan
    epsilon_spent: float = math.nan
    num_events: int = 0
    num_releases: int = 0
    num_uncommitted: int = 0
    runs: tuple[RunReport, ...] = ()
    filter: FilterReport | None = None
    left: Budget | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One charge, for printing."""

    seq: int
    time: str
    run_id: str
    request_id: str
    event: PrivacyEvent
    released: bool
    hash: str
