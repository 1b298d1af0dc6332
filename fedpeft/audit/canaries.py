# SPDX-License-Identifier: Apache-2.0
"""White-box canaries: units whose gradients point along directions of their own, known to the attacker.

Each canary is a unit far beyond the clip, so it adds the largest contribution there is; the directions are
orthogonal, so that one canary's score tells nothing of another. Half of them, by fair coins, are given to the
same sampler and the same mechanism that training uses, for as many steps as the run has. The attacker sees
every release and scores a canary by the sum of the releases along its direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from fedpeft.privacy.arithmetic.base import find as find_arithmetic
from fedpeft.privacy.mechanism import PoissonGaussianSum, combine
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.sampling import poisson_sample
from fedpeft.types import Layout, PrivacyEvent, Segment

_FAR_BEYOND_THE_CLIP: Final = 1e6
_ROWS: Final = 256  # canaries of one call of the mechanism, each as long as there are canaries


@dataclass(frozen=True, slots=True)
class Steps:
    """The private steps that are audited.

    Attributes:
        noise_multiplier: as accounted; a control draws another.
        sampling_rate: probability with which each unit enters a step.
        steps: how many.
        clipping: ``"automatic"`` or ``"flat"``.
        arithmetic: a file of ``privacy/arithmetic``.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    clipping: str = "automatic"
    arithmetic: str = "float"


@dataclass(frozen=True, slots=True)
class Scores:
    """What the attacker computed, and the truth.

    Attributes:
        scores: ``(m,)`` higher where a canary seems to be in.
        included: ``(m,)`` bool, the coins.
        event: what the mechanism says it released.
    """

    scores: npt.NDArray[np.float64]
    included: npt.NDArray[np.bool_]
    event: PrivacyEvent


def run_canaries(steps: Steps, canaries: int, randomness: Randomness) -> Scores:
    """Flip the coins, take the steps, score.

    Args:
        steps: to take.
        canaries: m, also the length of the vector.
        randomness: of coins, samples and noise.
    """
    coins = randomness.stream("canaries").words(canaries) & np.uint64(1)
    included = coins.astype(bool)
    names = {str(i): i for i in np.flatnonzero(included).tolist()}
    layout = Layout((Segment("canaries", -1, "canaries", (canaries,), 0),))
    scores = np.zeros(canaries)
    releases = []
    for step in range(steps.steps):
        mechanism = PoissonGaussianSum(
            layout,
            scales=(1.0,),
            clipping=steps.clipping,
            noise_multiplier=steps.noise_multiplier,
            sampling_rate=steps.sampling_rate,
            expected_batch=1.0,
            unit="canary",
            arithmetic=steps.arithmetic,
        )
        chosen = [names[name] for name in poisson_sample(names, steps.sampling_rate, randomness, step)]
        for start in range(0, len(chosen), _ROWS):
            part = chosen[start : start + _ROWS]
            rows = torch.zeros(len(part), canaries)
            rows[torch.arange(len(part)), torch.tensor(part)] = _FAR_BEYOND_THE_CLIP
            mechanism.add([rows])
        releases.append(mechanism.release(randomness.stream("noise", step)))
        scores += releases[-1].value
    return Scores(scores, included, combine(releases, None).event)


def run_single_sum(
    noise_multiplier: float, canaries: int, randomness: Randomness, arithmetic: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """One release of every included canary's own coordinate: a mechanism whose exact epsilon is known.

    No clipping and no units, so that there may be a million canaries.

    Returns:
        ``(m,)`` scores and ``(m,)`` coins.
    """
    included = (randomness.stream("canaries").words(canaries) & np.uint64(1)).astype(bool)
    total = find_arithmetic(arithmetic, canaries, noise_multiplier)
    ones = torch.ones(1, dtype=torch.float64)
    total.add(slice(0, canaries), ones, torch.from_numpy(included.astype(np.float64))[None])
    return total.noised(randomness.stream("noise")), included


def count_correct(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], guessed_in: int, guessed_out: int
) -> int:
    """Guess that the highest scores are in and the lowest out, abstain between; count the right guesses.

    Args:
        scores: ``(m,)``.
        included: ``(m,)``.
        guessed_in: how many of the highest.
        guessed_out: how many of the lowest; both together at most m.
    """
    order = np.argsort(scores, kind="stable")
    right_out = np.count_nonzero(~included[order[:guessed_out]])
    right_in = np.count_nonzero(included[order[order.size - guessed_in :]])
    return int(right_out + right_in)
