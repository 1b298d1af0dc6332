# SPDX-License-Identifier: Apache-2.0
"""Every block: the control."""

from __future__ import annotations

from typing import final

from fedpeft.selection.base import Inputs, Selection, Selector


@final
class Rule(Selector):
    """All blocks."""

    def choose(self, inputs: Inputs) -> Selection:
        """All of them."""
        return Selection(inputs.blocks, "all blocks, as configured")
