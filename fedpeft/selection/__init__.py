# SPDX-License-Identifier: Apache-2.0
"""Which blocks to train, chosen before the first round.

Nothing here takes a site, a private record or a ledger: a choice is a function of the public backbone, the
public plan, rows whose own certificate, if they need one, was paid before, and of noised votes that sites
released.
"""
