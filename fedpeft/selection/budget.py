# SPDX-License-Identifier: Apache-2.0
"""What a vote on blocks costs, and whether it can tell them apart: known before anything is asked."""

from __future__ import annotations

import math

from fedpeft.privacy.accountant import calibrate
from fedpeft.privacy.histogram import SELECTION
from fedpeft.selection.base import find
from fedpeft.stage_settings import SelectionSettings
from fedpeft.synthesis.budget import CLEAR


def asks_sites(settings: SelectionSettings) -> bool:
    """Whether blocks are chosen by what sites release."""
    return settings.selector is not None and find(settings.selector).asks_sites


def votes_of(settings: SelectionSettings, epsilon: float, delta: float) -> tuple[tuple[str, float, int], ...]:
    """The votes of a site with this epsilon, as a ``Schedule`` holds them; none where no site is asked.

    Raises:
        ConfigError: no noise multiplier reaches the share of epsilon.
    """
    if not asks_sites(settings):
        return ()
    return ((SELECTION, calibrate(settings.epsilon_share * epsilon, delta, 1.0, 1), 1),)


def signal_over_noise(
    settings: SelectionSettings, multipliers: tuple[float, ...], units: int, blocks: int
) -> float:
    """Of the votes that an average block has.

    Args:
        settings: of ``[selection]``.
        multipliers: of the sites' histograms.
        units: declared, of all sites together.
        blocks: to choose from.
    """
    size = max(1, blocks // 4) if settings.size == "auto" else settings.size
    votes = settings.vote_share * units * size / blocks / math.sqrt(size)
    return votes / math.sqrt(math.fsum(multiplier**2 for multiplier in multipliers))


def warnings_of(ratio: float) -> tuple[str, ...]:
    """What to change where an average block would drown in noise."""
    if ratio >= CLEAR:
        return ()
    return (
        f'selection.selector = "vote": an average block has {ratio:.3g} times the noise in votes, below '
        f"{CLEAR:g}; raise selection.epsilon_share, selection.vote_share or epsilon",
    )
