# SPDX-License-Identifier: Apache-2.0
"""From noised votes to rows: which bins rise above the noise, and so many of their candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedpeft.synthesis.base import Tally
from fedpeft.synthesis.dataset import SyntheticRow

_FALSE_ALARM = 0.05

Integers = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float64]


def clear_votes(tally: Tally) -> Vector:
    """``(num_bins,)`` the counts, and 0 where noise alone might have made them.

    The threshold is what the noise on any of the bins exceeds in one of twenty tallies of no votes at all.
    """
    from scipy.special import ndtri

    quantile = -float(ndtri(_FALSE_ALARM / len(tally.counts)))
    return np.where(tally.counts > quantile * tally.noise, tally.counts, 0.0)


def quotas(weights: Vector, size: int) -> Integers:
    """``(n,)`` whole numbers that add up to ``size``, as proportional to the weights as they can be.

    Args:
        weights: finite, at least 0, not all 0.
        size: of all together.
    """
    exact = weights / weights.sum() * size
    whole: Integers = np.floor(exact).astype(np.int64)
    rest = np.argsort(whole - exact, kind="stable")[: size - int(whole.sum())]
    whole[rest] += 1
    return whole


def resample(
    candidates: Sequence[SyntheticRow], bin_of: Integers, weights: Vector, size: int, seed: int
) -> tuple[SyntheticRow, ...]:
    """``size`` rows whose bins have these weights; none of a bin comes twice before all came once.

    Args:
        candidates: in a fixed order.
        bin_of: ``(n,)`` the bin of each.
        weights: of the bins, as for :func:`quotas`; a bin without candidates must have none.
        size: number of rows.
        seed: public.
    """
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    times = np.zeros(len(candidates), dtype=np.int64)
    for number, quota in enumerate(quotas(weights, size)):
        members = np.flatnonzero(bin_of == number)
        if quota:
            rounds, rest = divmod(int(quota), len(members))
            times[members] += rounds
            times[generator.permutation(members)[:rest]] += 1
    return tuple(_copy(row, copy) for row, n in zip(candidates, times, strict=True) for copy in range(n))


def sample(candidates: Sequence[SyntheticRow], size: int, seed: int) -> tuple[SyntheticRow, ...]:
    """``size`` rows, all candidates alike; see :func:`resample`."""
    return resample(candidates, np.zeros(len(candidates), dtype=np.int64), np.ones(1), size, seed)


def _copy(row: SyntheticRow, copy: int) -> SyntheticRow:
    return SyntheticRow(f"{row.id}#{copy}", row.instruction, row.response, row.task, row.lineage)
