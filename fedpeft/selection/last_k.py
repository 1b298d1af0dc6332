# SPDX-License-Identifier: Apache-2.0
"""The top k blocks: cheapest to train, and a control."""

from __future__ import annotations

from typing import final

from fedpeft.selection.base import Inputs, Selection, Selector
from fedpeft.selection.candidates import last_layers


@final
class Rule(Selector):
    """The last ``size`` blocks."""

    def choose(self, inputs: Inputs) -> Selection:
        """As said; raises what ``Inputs.size`` does."""
        size = inputs.size()
        return Selection(last_layers(inputs.blocks, size), f"the last {size} blocks, as configured")
