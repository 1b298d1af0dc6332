# SPDX-License-Identifier: Apache-2.0
"""The sections as they are: an `ffa` adapter, the same noise everywhere (FFA-LoRA under DP)."""

from __future__ import annotations

from typing import final

from fedpeft.methods.base import Method


@final
class Preset(Method):
    """Sets nothing; the default."""

    source = "Sun et al. 2024, arXiv 2403.12313"
