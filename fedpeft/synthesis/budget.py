# SPDX-License-Identifier: Apache-2.0
"""What synthesis costs, and how much votes tell: known before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fedpeft.privacy.accountant import calibrate, epsilon
from fedpeft.privacy.histogram import SYNTHESIS
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.base import find
from fedpeft.types import JsonDict, PrivacyEvent

CLEAR: Final = 4.0
"""Votes of a bin over the noise on it, from which on they can be told from noise."""


def votes_of(settings: SynthesisSettings, epsilon: float, delta: float) -> tuple[tuple[str, float, int], ...]:
    """The votes of a site with this epsilon, as a ``Schedule`` holds them; none where no site is asked.

    Raises:
        ConfigError: no noise multiplier reaches the share of epsilon.
    """
    if settings.generator is None:
        return ()
    kind = find(settings.generator)
    if not kind.asks_sites or kind.trains:
        return ()
    return ((SYNTHESIS, calibrate(settings.epsilon_share * epsilon, delta, 1.0, 1), 1),)


def steps_of(
    settings: SynthesisSettings, epsilon: float, delta: float, sampling_rate: float, local_steps: int
) -> tuple[tuple[float, int], ...]:
    """``(noise_multiplier, steps)`` of a generator's training at a site; none where nothing is trained.

    Raises:
        ConfigError: no noise multiplier reaches the share of epsilon.
    """
    if settings.generator is None or not find(settings.generator).trains:
        return ()
    steps = settings.rounds * local_steps
    return ((calibrate(settings.epsilon_share * epsilon, delta, sampling_rate, steps), steps),)


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Sites, units, bins and noise, against what can be seen in the sum of all votes.

    Attributes:
        multipliers: of the sites' histograms.
        declared_units: of all sites together.
        bins: that they vote on.
        neighbours: bins that each record votes for.
        delta: of the run.
        inflation: the training noise over what it would be without votes, the largest over the sites.
    """

    multipliers: tuple[float, ...]
    declared_units: int
    bins: int
    neighbours: int
    delta: float
    inflation: float

    @property
    def noise(self) -> float:
        """Standard deviation of the noise on a bin of the sum."""
        return math.sqrt(math.fsum(multiplier**2 for multiplier in self.multipliers))

    @property
    def epsilon(self) -> float:
        """Of one histogram by itself, the largest over the sites."""
        return epsilon([PrivacyEvent("gaussian", min(self.multipliers), 1.0, 1, "record")], self.delta)

    def signal_over_noise(self, mass: float) -> float:
        """Of a bin that a share ``mass`` of all units is nearest to."""
        return mass * self.declared_units / math.sqrt(self.neighbours) / self.noise

    @property
    def smallest_mass(self) -> float:
        """The share of all units from which on a bin is clear; above 1: none ever is."""
        return CLEAR / self.signal_over_noise(1.0)

    def warnings(self) -> tuple[str, ...]:
        """What to change where an average bin would drown in noise."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        ratio = self.signal_over_noise(1 / self.bins)
        if ratio < CLEAR:
            most = math.floor(self.bins * ratio / CLEAR)
            few = f"take at most {most} bins" if most >= 2 else "no number of bins is few enough"
            yield (
                f"synthesis.bins = {self.bins}: a bin of mass 1/{self.bins} has {ratio:.3g} times the noise "
                f"in votes, below {CLEAR:g}; {few}, or raise synthesis.epsilon_share or epsilon"
            )

    def to_json(self) -> JsonDict:
        """For machines."""
        return {
            "epsilon": self.epsilon,
            "noise_multiplier": min(self.multipliers),
            "noise": self.noise,
            "sites": len(self.multipliers),
            "declared_units": self.declared_units,
            "bins": self.bins,
            "signal_over_noise": self.signal_over_noise(1 / self.bins),
            "smallest_mass": self.smallest_mass,
            "training_noise": self.inflation,
        }

    def __str__(self) -> str:
        """One line."""
        return (
            f"votes of {len(self.multipliers)} sites on {self.bins} bins cost epsilon {self.epsilon:.4f} by "
            f"themselves and make the training noise {self.inflation:.4f} times what it were without; a bin "
            f"is clear from {self.smallest_mass:.2%} of the {self.declared_units:,} units on, an average one "
            f"has {self.signal_over_noise(1 / self.bins):.3g} times the noise"
        )
