# SPDX-License-Identifier: Apache-2.0
"""What DP-Forward promises, and the noise that it takes: a claim of its own, never composed with any other.

The frozen states of an input, a matrix clipped to Frobenius norm C, are released once with Gaussian noise.
Any two inputs are at most 2 C apart, so that noise of standard deviation 2 C / mu makes any two of them
(epsilon, delta)-indistinguishable (Balle and Wang 2018, arXiv 1805.06530; the paper's analytic matrix
Gaussian mechanism is the same one). That is replacement of one input, where everything else here is about
adding or removing a unit: no event of the ledger says it, and no accountant adds the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fedpeft.config import RunConfig
from fedpeft.errors import ConfigError
from fedpeft.privacy.calibration import gaussian_mean
from fedpeft.types import JsonDict, Layout

_UP: Final = 1 + 1e-9  # the root that gaussian_mean finds is good to 1e-12


@dataclass(frozen=True, slots=True)
class InputNoise:
    """The release of one input's states.

    Attributes:
        clip_norm: C, of the whole matrix.
    """

    epsilon: float
    delta: float
    clip_norm: float

    @property
    def multiplier(self) -> float:
        """Standard deviation of the noise over the sensitivity."""
        return _UP / gaussian_mean(self.epsilon, self.delta)

    @property
    def stddev(self) -> float:
        """Of the noise in each entry: the multiplier times 2 C."""
        return 2 * self.clip_norm * self.multiplier

    def to_json(self) -> JsonDict:
        """The claim, for plans and results."""
        return {
            "epsilon": self.epsilon,
            "delta": self.delta,
            "adjacency": "replace the input of one record; its response is not protected",
            "sensitivity": 2 * self.clip_norm,
            "noise_multiplier": self.multiplier,
        }


def input_noise(config: RunConfig) -> InputNoise:
    """Of a run: its epsilon, delta and clip norm."""
    return InputNoise(config.privacy.epsilon, config.delta, config.privacy.clip_norm)


def needs_a_prefix(layout: Layout) -> int:
    """The block whose entrance is noised, the lowest that is trained.

    Raises:
        ConfigError: there is no frozen block below it.
    """
    block = min(segment.block for segment in layout.segments)
    if block < 1:
        raise ConfigError(
            'adapter.layers: trains block 0, and method = "dp-forward" noises the states of frozen blocks '
            "below those that are trained; leave block 0 out"
        )
    return block
