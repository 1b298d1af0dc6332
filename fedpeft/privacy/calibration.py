# SPDX-License-Identifier: Apache-2.0
"""The search for a noise multiplier: a good first guess, and few trials from there.

Nothing here bounds privacy. A guess decides how long the search takes; what is returned was tried with
the accountant's own figure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from fedpeft.privacy.events import MAX_NOISE_MULTIPLIER, MIN_NOISE_MULTIPLIER

TICKS = 10_000
"""Multipliers have four decimals; a tick is one unit of the last."""
_SMALLEST_MEAN, _LARGEST_MEAN = 1e-9, 100.0
_MIN_TICKS, _MAX_TICKS = math.ceil(MIN_NOISE_MULTIPLIER * TICKS), int(MAX_NOISE_MULTIPLIER * TICKS)


def smallest_multiplier(guess: float, cost: Callable[[float], float], target: float) -> float | None:
    """Find the smallest multiplier of four decimals whose cost is at most ``target``.

    Args:
        guess: where to begin.
        cost: decreasing function of the multiplier, not negative, possibly infinite.
        target: positive.

    Returns:
        A multiplier whose cost was at most ``target`` while that of a tick below it was more (or the range
        of multipliers ends there); ``None`` if even the largest multiplier costs more.
    """
    tried: dict[int, float] = {}  # in order: ticks, and log(cost / target), positive where it costs more
    ticks = round(guess * TICKS)
    low, high = _bracket(tried)
    while high - low > 1:
        ticks = min(max(ticks, low + 1), high - 1)
        found = cost(ticks / TICKS)
        # Bounded, because an infinite or vanishing cost says only in which direction to go.
        error = math.log(min(max(found / target, 1e-3), 1e3))
        tried[ticks] = max(error, 1e-16) if found > target else min(error, 0.0)
        low, high = _bracket(tried)
        ticks = _next_trial(tried, low, high)
    return high / TICKS if high <= _MAX_TICKS else None


def central_limit(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Guess a multiplier by treating the run as one Gaussian step (Bu et al. 2020, arXiv:1911.11607).

    Its mean is ``sampling_rate * sqrt(steps * (exp(1 / multiplier^2) - 1))``.
    """
    mean = gaussian_mean(epsilon, delta)
    if not _SMALLEST_MEAN < mean < _LARGEST_MEAN:
        return 1.0
    return 1 / math.sqrt(math.log1p((mean / sampling_rate) ** 2 / steps))


@functools.lru_cache(maxsize=256)
def gaussian_mean(epsilon: float, delta: float) -> float:
    """The mu of Gaussian differential privacy that is exactly (epsilon, delta)-DP, within [1e-9, 100].

    Solves ``delta = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2)`` (Dong et al. 2022,
    arXiv:1905.02383, Corollary 2.13). One release of this mean, or T of mu / sqrt(T), uses up the budget.

    Args:
        epsilon: positive.
        delta: in (0, 1).
    """
    from scipy.optimize import brentq
    from scipy.special import log_ndtr, ndtr

    def surplus(mean: float) -> float:
        tail = math.exp(epsilon + log_ndtr(-epsilon / mean - mean / 2))
        return float(ndtr(-epsilon / mean + mean / 2) - tail - delta)

    if surplus(_SMALLEST_MEAN) >= 0:
        return _SMALLEST_MEAN
    if surplus(_LARGEST_MEAN) <= 0:
        return _LARGEST_MEAN
    return float(brentq(surplus, _SMALLEST_MEAN, _LARGEST_MEAN, xtol=1e-12))


def _bracket(tried: dict[int, float]) -> tuple[int, int]:
    low = max((ticks for ticks, error in tried.items() if error > 0), default=_MIN_TICKS - 1)
    high = min((ticks for ticks, error in tried.items() if error <= 0), default=_MAX_TICKS + 1)
    return low, high


def _next_trial(tried: dict[int, float], low: int, high: int) -> int:
    if len(tried) > 12:
        return (low + high) // 2  # too odd a curve for secants
    if low in tried and high in tried:
        return math.ceil(low + (high - low) * tried[low] / (tried[low] - tried[high]))
    *earlier, ticks = tried
    error, power = tried[ticks], 1.3  # epsilon falls about like this power of the multiplier
    if earlier and tried[earlier[-1]] != error:
        power = (tried[earlier[-1]] - error) / math.log(ticks / earlier[-1])
    # A little too far, so that the next trial falls on the other side.
    step = 1.05 * error / min(max(power, 0.2), 5.0)
    return round(ticks * math.exp(step)) + (2 if error > 0 else -2)
