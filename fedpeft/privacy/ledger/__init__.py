# SPDX-License-Identifier: Apache-2.0
"""The privacy ledger of a site: an append-only account of everything that ever leaves it."""

from fedpeft.privacy.ledger.budget import Budget
from fedpeft.privacy.ledger.charge import Ledger
from fedpeft.privacy.ledger.recount import LedgerRow, RunReport, VerifyReport, show, verify, verify_all

__all__ = ["Budget", "Ledger", "LedgerRow", "RunReport", "VerifyReport", "show", "verify", "verify_all"]
