# SPDX-License-Identifier: Apache-2.0
"""What an audit can find, computed before it runs: which guesses to make, how often a control is caught.

The mechanism is replaced by its textbook formula: over all steps a canary that is in adds a binomial number
of ones to Gaussian noise. From many such draws come the expected bound, by which the numbers of guesses are
chosen, and the rates at which less noise than claimed, or none, breaks the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.audit.bound import epsilon_lower_bound, fewest_correct
from fedpeft.audit.canaries import Steps, count_correct

CONTROLS: Final = {"quarter": 0.25, "none": 2.0**-20}
"""Names of the controls, with the factor on the noise; the mechanism refuses to draw exactly none."""

_SHARES: Final = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
_FEWEST: Final = 10
_TRIALS_TO_CHOOSE: Final = 20
_TRIALS: Final = 200


@dataclass(frozen=True, slots=True)
class Design:
    """An audit, fixed before it is run.

    Attributes:
        canaries: m.
        guessed_in: canaries of the highest scores, said to be in.
        guessed_out: canaries of the lowest scores, said to be out.
        refuted_from: right guesses from which on the claim is refuted; one more than there are guesses where
            it cannot be.
    """

    steps: Steps
    epsilon: float
    delta: float
    significance: float
    canaries: int
    guessed_in: int
    guessed_out: int
    refuted_from: int

    @property
    def guesses(self) -> int:
        """How many canaries are guessed, r."""
        return self.guessed_in + self.guessed_out

    def bound(self, correct: int) -> float:
        """The lower bound of epsilon that so many right guesses give."""
        return epsilon_lower_bound(self.canaries, self.guesses, correct, self.delta, self.significance)


def choose_design(
    steps: Steps, epsilon: float, delta: float, *, canaries: int, significance: float
) -> Design:
    """The numbers of guesses with the largest typical bound, summed over honest noise and a quarter of it.

    Args:
        steps: what will be audited.
        epsilon: claimed for them.
        delta: of the claim.
        canaries: m.
        significance: probability with which a true claim may be refuted.
    """
    draws = [
        [_draw(steps, canaries, factor, seed) for seed in range(_TRIALS_TO_CHOOSE)] for factor in (1.0, 0.25)
    ]
    best, chosen = -1.0, (0, 0)
    for guesses in sorted({max(round(share * canaries), min(_FEWEST, canaries)) for share in _SHARES}):
        for guessed_out in (0, guesses // 2):
            counts = guesses - guessed_out, guessed_out
            typical = [int(np.median([count_correct(*draw, *counts) for draw in same])) for same in draws]
            bound = sum(epsilon_lower_bound(canaries, guesses, n, delta, significance) for n in typical)
            if bound > best:
                best, chosen = bound, counts
    refuted_from = fewest_correct(canaries, sum(chosen), epsilon, delta, significance)
    return Design(steps, epsilon, delta, significance, canaries, *chosen, refuted_from)


def power(design: Design, noise_factor: float, trials: int = _TRIALS) -> float:
    """The share of runs that refute the claim when the noise is ``noise_factor`` times what is accounted."""
    refuted = [
        _correct(design, *_draw(design.steps, design.canaries, noise_factor, seed)) >= design.refuted_from
        for seed in range(1000, 1000 + trials)
    ]
    return float(np.mean(refuted))


def _draw(
    steps: Steps, canaries: int, noise_factor: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    random = np.random.default_rng(seed)
    included = random.random(canaries) < 0.5
    signal = included * random.binomial(steps.steps, steps.sampling_rate, canaries)
    stddev = noise_factor * steps.noise_multiplier * np.sqrt(steps.steps)
    return signal + stddev * random.standard_normal(canaries), included


def _correct(design: Design, scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_]) -> int:
    return count_correct(scores, included, design.guessed_in, design.guessed_out)
