# SPDX-License-Identifier: Apache-2.0
"""Reference: the same federation without clipping and noise."""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """NOT PRIVATE."""

    source = "McMahan et al. 2017, arXiv 1602.05629"
    how = "unprotected"
    no_guarantee = "not private (no clipping and no noise)"
    has_epsilon = False
