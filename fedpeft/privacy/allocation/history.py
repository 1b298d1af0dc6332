# SPDX-License-Identifier: Apache-2.0
"""What past releases tell about the segments: running statistics, each freed of the noise that is known.

Every number here is a function of releases and public facts, so whatever is made of it costs no privacy.
The noise that the mechanism adds has a known variance, so its expected part is subtracted from each
statistic *before* it is averaged over rounds; an estimate may therefore come out negative, and is cut off
at zero only where it is read. Averages are exponential and corrected for their start at zero.

The variance estimator is that of AdaCLiP (Pichapati et al. 2019, https://arxiv.org/abs/1908.07643) with
the distance to the mean of *earlier* rounds, whose noise is independent of the newest; importance follows
AdaLoRA (Zhang et al. 2023, https://arxiv.org/abs/2303.10512), on releases instead of clean gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.privacy.clipping import FROZEN_SCALE
from fedpeft.types import FloatVector, Layout

DoubleVector = npt.NDArray[np.float64]
Statistics = Mapping[str, DoubleVector]
"""Named float64 arrays, as a checkpoint keeps them; empty before the first round."""

MEMORY: Final = 0.9
"""Of the running mean, variance and signal: the weight of what was known before a round."""
IMPORTANCE_MEMORY: Final = 0.85
"""Of importance and its uncertainty, as in AdaLoRA."""
LARGEST: Final = 1e100
"""No statistic reaches it, so that rules may multiply a few of them."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The releases of one round, put together; only the tally of the round makes one.

    Attributes:
        gradient: ``(d,)`` the released estimate of the mean clipped gradient.
        adapter: ``(d,)`` where it was taken.
        scales: ``(S,)`` b_s of the round.
        unit_noise: variance of the noise in a coordinate of ``gradient`` for a scale of 1; b_s^2 times
            that is in segment s.
        unclipped: where units vote on it, the noised share of them that was within the clip level.
        noise_shares: ``(S,)`` of that noise, what a coordinate of the segment has on average, where some
            sites train less than others; ``None``: all of it.
    """

    gradient: DoubleVector
    adapter: FloatVector
    scales: tuple[float, ...]
    unit_noise: float
    unclipped: float | None = None
    noise_shares: DoubleVector | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What the rounds so far taught; read-only.

    Attributes:
        rounds: how many.
        variance: ``(S,)`` mean variance of a coordinate of a round's mean gradient around its course, the
            noise not counted.
        signal: ``(S,)`` mean square of a coordinate of the mean gradient, the noise not counted.
        importance: ``(S,)`` mean square of weight times gradient, likewise.
        uncertainty: ``(S,)`` how far that swings from round to round, likewise.
        noise: ``(S,)`` variance of the noise in a coordinate in the newest round.
        unit_noise: the same for a scale of 1.
    """

    rounds: int
    variance: DoubleVector
    signal: DoubleVector
    importance: DoubleVector
    uncertainty: DoubleVector
    noise: DoubleVector
    unit_noise: float


def read(statistics: Statistics, num_segments: int) -> History:
    """The estimates, none of them negative; zeros where nothing is known."""
    if "rounds" not in statistics:
        zeros = np.zeros(num_segments)
        return History(0, zeros, zeros, zeros, zeros, zeros, 0.0)
    rounds = int(statistics["rounds"][0])

    def corrected(name: str, memory: float, count: int) -> DoubleVector:
        start = 1 - memory**count if count > 0 else 1.0
        return np.maximum(statistics[name] / start, 0.0)

    return History(
        rounds=rounds,
        variance=corrected("variance", MEMORY, rounds - 1),
        signal=corrected("signal", MEMORY, rounds),
        importance=corrected("importance", IMPORTANCE_MEMORY, rounds),
        uncertainty=np.sqrt(corrected("swing", IMPORTANCE_MEMORY, rounds - 1)),
        noise=statistics["noise"].copy(),
        unit_noise=float(statistics["unit_noise"][0]),
    )


def learn(statistics: Statistics, layout: Layout, seen: Observation) -> Statistics:
    """The statistics after one more round. A round of absurd numbers teaches nothing.

    Segments that are frozen released nothing and keep what is known of them.
    """
    old = statistics if "rounds" in statistics else _beginning(layout)
    scales = np.asarray(seen.scales)
    live = scales < FROZEN_SCALE
    with np.errstate(over="ignore", invalid="ignore"):
        shares = 1.0 if seen.noise_shares is None else seen.noise_shares
        noise = np.where(live, scales, 0.0) ** 2 * seen.unit_noise * shares
        new = _moments(old, layout, seen.gradient, noise) | _importance(old, layout, seen, noise)
    for name in ("variance", "signal", "importance", "swing"):
        new[name] = np.where(live, new[name], old[name])
    new |= {"rounds": old["rounds"] + 1, "noise": noise, "unit_noise": np.array([seen.unit_noise])}
    return new if all((np.abs(array) < LARGEST).all() for array in new.values()) else old


def _beginning(layout: Layout) -> dict[str, DoubleVector]:
    a_segment = ("mean_noise", "variance", "signal", "importance", "importance_noise", "swing", "noise")
    zeros = {name: np.zeros(len(layout.segments)) for name in a_segment}
    one = {name: np.zeros(1) for name in ("rounds", "mean_weight", "importance_weight", "unit_noise")}
    return zeros | one | {"mean": np.zeros(layout.size)}


def _moments(
    old: Statistics, layout: Layout, gradient: DoubleVector, noise: DoubleVector
) -> dict[str, DoubleVector]:
    """Mean, variance around it, and signal.

    With the mean m of earlier rounds, of weights w_i that sum to 1, E (g - m)^2 = (variance + noise of g)
    + sum w_i^2 (variance + noise of g_i): both noises and the sum are known, so the variance follows.
    """
    rounds = int(old["rounds"][0])
    new = {
        "mean": MEMORY * old["mean"] + (1 - MEMORY) * gradient,
        "mean_weight": MEMORY**2 * old["mean_weight"] + (1 - MEMORY) ** 2,
        "mean_noise": MEMORY**2 * old["mean_noise"] + (1 - MEMORY) ** 2 * noise,
        "signal": MEMORY * old["signal"] + (1 - MEMORY) * (_mean_of(gradient**2, layout) - noise),
        "variance": old["variance"],
    }
    if rounds:
        start = 1 - MEMORY**rounds
        distance = _mean_of((gradient - old["mean"] / start) ** 2, layout)
        excess = distance - noise - old["mean_noise"] / start**2
        estimate = excess / (1 + old["mean_weight"] / start**2)
        new["variance"] = MEMORY * old["variance"] + (1 - MEMORY) * estimate
    return new


def _importance(
    old: Statistics, layout: Layout, seen: Observation, noise: DoubleVector
) -> dict[str, DoubleVector]:
    """J = mean (weight x gradient)^2 without its noise, and how far J swings without *its* noise.

    The noise of a round is independent of the weights it meets, so E w^2 (g^2 - n) is w^2 times the true
    square, and Var w^2 g^2 = w^4 (4 n g_true^2 + 2 n^2) = E w^4 (4 n g^2 - 2 n^2).
    """
    weights, squares = seen.adapter.astype(np.float64) ** 2, seen.gradient**2
    sizes = np.array([segment.size for segment in layout.segments])
    level = _mean_of(weights * squares, layout) - noise * _mean_of(weights, layout)
    fourth = 4 * noise * _mean_of(weights**2 * squares, layout) - 2 * noise**2 * _mean_of(weights**2, layout)
    level_noise = fourth / sizes
    memory, rounds = IMPORTANCE_MEMORY, int(old["rounds"][0])
    new = {
        "importance": memory * old["importance"] + (1 - memory) * level,
        "importance_noise": memory**2 * old["importance_noise"] + (1 - memory) ** 2 * level_noise,
        "importance_weight": memory**2 * old["importance_weight"] + (1 - memory) ** 2,
        "swing": old["swing"],
    }
    if rounds:
        start = 1 - memory**rounds
        excess = (level - old["importance"] / start) ** 2 - level_noise - old["importance_noise"] / start**2
        estimate = excess / (1 + old["importance_weight"] / start**2)
        new["swing"] = memory * old["swing"] + (1 - memory) * estimate
    return new


def _mean_of(values: DoubleVector, layout: Layout) -> DoubleVector:
    """``(S,)`` the mean of a ``(d,)`` vector over each segment."""
    return np.array([values[segment.slice].mean() for segment in layout.segments])
