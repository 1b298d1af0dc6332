# SPDX-License-Identifier: Apache-2.0
"""Reference: all records in one place, without clipping and noise."""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """NOT PRIVATE."""

    source = "fedpeft"
    how = "unprotected-pooled"
    no_guarantee = "not private (all records in one place, no clipping and no noise)"
    has_epsilon = False
