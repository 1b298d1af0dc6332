# SPDX-License-Identifier: Apache-2.0
"""The private step, its accounting and its ledger."""
