# SPDX-License-Identifier: Apache-2.0
"""Public bins: groups of similar candidates, by k-means on their public embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedpeft.data.embedding import embed_all, pair_text
from fedpeft.errors import DataError
from fedpeft.synthesis.dataset import SyntheticRow

_ITERATIONS = 25


@dataclass(frozen=True, slots=True)
class Bins:
    """Centres of groups, none of them empty.

    Attributes:
        centres: ``(num_bins, dimension)`` float32.
        bin_of: ``(n,)`` the nearest centre of each candidate.
    """

    centres: npt.NDArray[np.float32]
    bin_of: npt.NDArray[np.int64]


def make_bins(candidates: Sequence[SyntheticRow], num_bins: int, seed: int) -> Bins:
    """Group the candidates; there may come out fewer bins where some would be empty.

    Raises:
        DataError: fewer candidates than bins.
    """
    if len(candidates) < num_bins:
        raise DataError(
            f"synthesis.bins = {num_bins}: the pool has only {len(candidates)} different candidates; lower "
            "it, or give a larger pool"
        )
    points = embed_all(pair_text(row.instruction, row.response) for row in candidates)
    rounded = np.unique(_means(np.unique(points, axis=0), num_bins, seed).astype(np.float32), axis=0)
    used = np.unique(_nearest(points, rounded))
    kept = rounded[used]
    return Bins(kept, _nearest(points, kept))


def _means(points: npt.NDArray[np.float64], num_bins: int, seed: int) -> npt.NDArray[np.float64]:
    """``(num_bins, dimension)`` centres of different points, or the points where they are no more."""
    from scipy.cluster.vq import kmeans2

    if len(points) <= num_bins:
        return points
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of groups that became empty, which are left out
        centres, _ = kmeans2(points, num_bins, iter=_ITERATIONS, minit="++", missing="warn", rng=seed)
    made: npt.NDArray[np.float64] = centres
    return made


def _nearest(points: npt.NDArray[np.float64], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    exact = centres.astype(np.float64)
    lengths = np.einsum("ij,ij->i", exact, exact)
    found: npt.NDArray[np.int64] = np.argmin(lengths - 2.0 * (points @ exact.T), axis=1)
    return found
