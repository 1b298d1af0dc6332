# SPDX-License-Identifier: Apache-2.0
"""A few blocks at a time, in turn, by a public schedule: a control that looks at nothing.

After LISA (Pan et al. 2024, https://arxiv.org/abs/2403.17919), which draws the layers of each turn afresh;
here every block has had its turn before any has its second, so that few rounds reach all of them. A block
that has no turn is frozen: it fills nothing of a unit's clip norm and gets no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from fedpeft.selection.base import Inputs, Selection, Selector


@final
class Rule(Selector):
    """``size`` blocks in each turn of ``period`` rounds."""

    def choose(self, inputs: Inputs) -> Selection:
        """As said; raises what ``Inputs.size`` does."""
        size, settings = inputs.size(), inputs.settings
        rounds = schedule(inputs.blocks, size, inputs.rounds, settings.period, settings.seed)
        layers = tuple(sorted({block for one in rounds for block in one}))
        turns = f"others after {settings.period} rounds, by the public seed {settings.seed}"
        why = f"{size} blocks at a time, {turns}"
        return Selection(layers, why, rounds=rounds)


def schedule(
    blocks: Sequence[int], size: int, rounds: int, period: int, seed: int
) -> tuple[tuple[int, ...], ...]:
    """The blocks of each round, ascending; no block comes in two turns more than another, but for one.

    Args:
        blocks: that have turns.
        size: blocks of a turn, at most all.
        rounds: of the run.
        period: rounds of a turn.
        seed: public.
    """
    random, waiting = np.random.default_rng([seed, 6]), list[int]()
    found: list[tuple[int, ...]] = []
    while len(found) < rounds:
        chosen: list[int] = []
        while len(chosen) < size:
            if not waiting:
                order = random.permutation(blocks).tolist()
                waiting = sorted(
                    order, key=chosen.__contains__
                )  # those of this turn come last; else as drawn
            chosen.append(waiting.pop(0))
        found += [tuple(sorted(chosen))] * period
    return tuple(found[:rounds])
