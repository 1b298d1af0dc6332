# SPDX-License-Identifier: Apache-2.0
"""Resampling: what is noise counts nothing, what is not sets the proportions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fedpeft.synthesis.base import Tally, added
from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.synthesis.resampling import clear_votes, quotas, resample

ROWS = tuple(SyntheticRow(f"r{i}", f"i{i}", f"o{i}", "t", f"l{i // 2}") for i in range(10))
BIN_OF = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def test_histograms_add_up_and_so_does_the_variance_of_their_noise() -> None:
    tally = added([(np.array([1.0, 2.0], np.float32), 3.0), (np.array([0.5, -1.0], np.float32), 4.0)], 2)
    assert tally.counts == pytest.approx([1.5, 1.0])
    assert tally.noise == pytest.approx(5.0)
    assert not added([], 3).counts.any()


def test_noise_alone_rarely_passes_for_votes() -> None:
    generator = np.random.default_rng(0)
    alarms = [clear_votes(Tally(generator.normal(0, 7.0, 64), 7.0)).any() for _ in range(1000)]
    assert 0.02 < np.mean(alarms) < 0.09


def test_clear_votes_stay_as_they_are() -> None:
    tally = Tally(np.array([40.0, 3.0, -20.0, 12.0]), 2.0)
    assert clear_votes(tally) == pytest.approx([40.0, 0.0, 0.0, 12.0])


def test_nobodys_votes_are_none() -> None:
    assert not clear_votes(added([], 5)).any()


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_quotas_add_up(size: int) -> None:
    found = quotas(np.array([0.0, 1.0, 2.5, 1e-9]), size)
    assert found.sum() == size
    assert found[0] == 0
    assert (found >= 0).all()


def test_bins_get_their_share_and_candidates_take_turns() -> None:
    rows = resample(ROWS, BIN_OF, np.array([1.0, 0.0, 3.0]), 16, 0)
    times = Counter(row.id.partition("#")[0] for row in rows)
    assert len(rows) == 16
    assert sum(times[f"r{i}"] for i in range(3)) == 4
    assert all(times[f"r{i}"] == 0 for i in range(3, 6))
    assert [times[f"r{i}"] for i in range(6, 10)] == [3, 3, 3, 3]
    assert {times[f"r{i}"] for i in range(3)} == {1, 2}


def test_copies_have_ids_of_their_own_and_share_their_lineage() -> None:
    rows = resample(ROWS, BIN_OF, np.array([0.0, 0.0, 1.0]), 12, 0)
    assert len({row.id for row in rows}) == 12
    assert {row.lineage for row in rows} == {"l3", "l4"}


def test_the_choice_is_of_the_seed() -> None:
    weights = np.array([1.0, 1.0, 1.0])
    first, second, other = (resample(ROWS, BIN_OF, weights, 5, seed) for seed in (1, 1, 3))
    assert first == second
    assert first != other
