# SPDX-License-Identifier: Apache-2.0
"""The privacy ledger of a site: an append-only account of everything that ever leaves it."""

from fedpeft.privacy.ledger.budget import Budget
from fedpeft.privacy.ledger.charge import Ledger
from fedpeft.privacy.ledger.life import Commitment, PolicyLife, life
from fedpeft.privacy.ledger.recount import show, verify, verify_all
from fedpeft.privacy.ledger.reports import FilterReport, LedgerRow, RunReport, VerifyReport

__all__ = [
    "Budget",
    "Commitment",
    "FilterReport",
    "Ledger",
    "LedgerRow",
    "PolicyLife",
    "RunReport",
    "VerifyReport",
    "life",
    "show",
    "verify",
    "verify_all",
]
