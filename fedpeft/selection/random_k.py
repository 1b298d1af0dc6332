# SPDX-License-Identifier: Apache-2.0
"""Any k blocks, by a public seed: the control that a selector has to beat."""

from __future__ import annotations

from typing import final

import numpy as np

from fedpeft.selection.base import Inputs, Selection, Selector
from fedpeft.selection.candidates import random_layers


@final
class Rule(Selector):
    """``size`` blocks that the public seed draws."""

    def choose(self, inputs: Inputs) -> Selection:
        """As said; raises what ``Inputs.size`` does."""
        size, seed = inputs.size(), inputs.settings.seed
        layers = random_layers(inputs.blocks, size, np.random.default_rng(seed))
        return Selection(layers, f"{size} blocks drawn by the public seed {seed}")
