# SPDX-License-Identifier: Apache-2.0
"""The blocks that the sites' records vote for: one noised histogram, which the sites are charged for.

Each record votes for the k blocks in which the gradient of its loss is longest, at the backbone as it is,
with 1/sqrt(k) each (after DP-SAPF, https://arxiv.org/abs/2605.30312, with blocks in place of weights). It
needs no public rows; it costs a share of epsilon, and looks at no noise that training will add.
"""

from __future__ import annotations

from typing import ClassVar, Final, final

import numpy as np

from fedpeft.errors import ConfigError
from fedpeft.selection.base import Inputs, Selection, Selector
from fedpeft.synthesis.base import Tally

_FALSE_ALARM: Final = 0.05


@final
class Rule(Selector):
    """The ``size`` blocks with the most votes, or all where noise alone may have made the difference."""

    asks_sites: ClassVar[bool] = True

    def choose(self, inputs: Inputs) -> Selection:
        """Poll once.

        Raises:
            ConfigError: there is nobody to ask, or ``size`` is more than there are blocks.
        """
        size = inputs.size()
        if inputs.poll is None:
            raise ConfigError(
                'selection.selector = "vote": asks the sites, and there are none here; use `fedpeft '
                "simulate`, or `fedpeft select` on a run with sites"
            )
        tally = inputs.poll(size)
        if not differ(tally):
            return Selection(
                inputs.blocks,
                "all blocks: their votes differ by no more than noise alone may make them",
            )
        best = sorted(range(len(inputs.blocks)), key=lambda place: (-tally.counts[place], -place))[:size]
        layers = tuple(inputs.blocks[place] for place in sorted(best))
        return Selection(layers, f"the {size} blocks with the most noised votes")


def differ(tally: Tally) -> bool:
    """Whether counts differ by more than noise makes equal ones differ in 19 of 20 polls (chi-square).

    Never where nobody voted.
    """
    from scipy.special import chdtrc

    if tally.noise == 0 or len(tally.counts) < 2:
        return False
    spread = float(np.square((tally.counts - tally.counts.mean()) / tally.noise).sum())
    return bool(chdtrc(len(tally.counts) - 1, spread) < _FALSE_ALARM)
