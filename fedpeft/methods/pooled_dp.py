# SPDX-License-Identifier: Apache-2.0
"""Reference: all records in one trusted place, noised once. Shows what noise at each site costs."""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """One site that holds all records, under the same unit and epsilon."""

    source = "Abadi et al. 2016, arXiv 1607.00133"
    how = "one-place"
    no_guarantee = "all records are in one place; epsilon holds for what that place releases"
