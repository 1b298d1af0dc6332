# SPDX-License-Identifier: Apache-2.0
"""Bins: public, none empty, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.data.embedding import embed_all, pair_text
from fedpeft.errors import DataError
from fedpeft.synthesis.binning import make_bins
from fedpeft.synthesis.templates import bundled_pool

POOL = bundled_pool()[::8]


def test_every_bin_has_candidates_and_each_is_in_its_nearest() -> None:
    bins = make_bins(POOL, 12, 0)
    assert 2 <= len(bins.centres) <= 12
    assert set(bins.bin_of) == set(range(len(bins.centres)))
    points = embed_all(pair_text(row.instruction, row.response) for row in POOL)
    distances = np.linalg.norm(points[:, None] - bins.centres[None].astype(float), axis=2)
    assert np.array_equal(distances.argmin(1), bins.bin_of)


def test_the_same_seed_gives_the_same_bins() -> None:
    first, second, other = (make_bins(POOL, 8, seed).centres for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_candidates_that_are_all_alike_share_a_bin() -> None:
    bins = make_bins(POOL[:1] * 5, 3, 0)
    assert len(bins.centres) == 1
    assert not bins.bin_of.any()


def test_fewer_candidates_than_bins_are_refused() -> None:
    with pytest.raises(DataError, match=r"synthesis\.bins = 6: the pool has only 5"):
        make_bins(POOL[:5], 6, 0)
