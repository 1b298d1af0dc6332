# SPDX-License-Identifier: Apache-2.0
"""Which blocks to train, chosen before the first round from public or synthetic rows alone.

Nothing here takes a site, a private record or a ledger, so that a choice costs no privacy: it is a function
of the public backbone, the public plan and rows whose own certificate, if they need one, was paid before.
"""
