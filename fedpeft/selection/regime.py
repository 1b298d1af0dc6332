# SPDX-License-Identifier: Apache-2.0
"""What training will be like, as far as it is public: its noise, clipping, learning rates and server.

With sites k of multipliers sigma_k and expected batches B_k, a round applies::

    (sum of clipped gradients over all sites + sum_k sigma_k C N(0, I)) / sum_k B_k

so the noise of one coordinate of the mean clipped gradient has standard deviation C sqrt(sum sigma_k^2) / sum
B_k: with one site, sigma C / B. Trials on public or synthetic rows add noise of that size, whatever their own
batch, so that a choice is made under the noise that it will meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fedpeft.errors import MechanismError
from fedpeft.settings import FederationSettings
from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class Regime:
    """The public part of a run's training.

    Attributes:
        noise: of each round, the standard deviation of the noise in a coordinate of the mean clipped gradient
            over the clip norm: sigma / B for one site.
        learning_rates: of each round.
        local_steps: private steps in a round.
        clipping: a rule of ``privacy.clipping.RULES``.
        clip_norm: C.
        federation: the server's settings.
    """

    noise: tuple[float, ...]
    learning_rates: tuple[float, ...]
    local_steps: int
    clipping: str
    clip_norm: float
    federation: FederationSettings

    def __post_init__(self) -> None:
        """Refuse what is no regime.

        Raises:
            MechanismError: other than one finite noise of at least 0 and one learning rate a round.
        """
        sound = all(math.isfinite(noise) and noise >= 0 for noise in self.noise)
        if not self.noise or len(self.noise) != len(self.learning_rates) or not sound:
            raise MechanismError(
                f"regime: {len(self.noise)} noises for {len(self.learning_rates)} learning rates; needs one "
                "finite noise of at least 0 for each round"
            )

    @property
    def rounds(self) -> int:
        """Of the run."""
        return len(self.noise)

    @property
    def steps(self) -> int:
        """Private steps of the run."""
        return self.rounds * self.local_steps

    def to_json(self) -> JsonDict:
        """The figures for machines, without the server's settings."""
        return {
            "noise_over_clip": list(self.noise),
            "learning_rates": list(self.learning_rates),
            "local_steps": self.local_steps,
            "clipping": self.clipping,
            "clip_norm": self.clip_norm,
        }

    def noise_deviation(self, number: int) -> float:
        """Of a coordinate of the mean clipped gradient in round ``number``, from 0: sigma C / B."""
        return self.noise[number] * self.clip_norm

    @property
    def noise_moves(self) -> bool:
        """Whether noise moves a coordinate in proportion to its size; under Adam it does not."""
        return self.federation.server_optimizer != "adam"

    def displacement(self, number: int) -> float:
        """How far the noise of one update moves a coordinate of the adapter: eta sigma C / B.

        Adam divides by what it estimates of noise and signal, so that it moves a coordinate by at most about
        its learning rate: that is taken.
        """
        server = self.federation.server_learning_rate
        if not self.noise_moves:
            return server
        return server * self.learning_rates[number] * self.noise_deviation(number)

    def first(self, steps: int) -> Regime:
        """The rounds that begin within the first ``steps`` private steps; never none, never more."""
        rounds = min(self.rounds, max(1, math.ceil(steps / self.local_steps)))
        return replace(self, noise=self.noise[:rounds], learning_rates=self.learning_rates[:rounds])


def noise_of(multipliers: Sequence[float], expected_batches: Sequence[float]) -> float:
    """sqrt(sum sigma_k^2) / sum B_k over the sites of a round."""
    return math.sqrt(math.fsum(sigma**2 for sigma in multipliers)) / math.fsum(expected_batches)
