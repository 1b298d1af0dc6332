# SPDX-License-Identifier: Apache-2.0
"""How much noise each round of a run gets, fixed before its first step; a rule is one file."""
