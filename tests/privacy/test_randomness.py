# SPDX-License-Identifier: Apache-2.0
"""Streams, noise and sampling: distribution, tails, independence, and unit-wise draws."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
from scipy import stats

from fedpeft.privacy.noise import standard_normal
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.sampling import inclusion_threshold, poisson_sample

N = 1_000_000


def normals(*names: object, count: int = N, seed: int = 5) -> np.ndarray:
    return standard_normal(Randomness.seeded(seed).stream(*names), count)


def test_noise_is_standard_normal() -> None:
    draws = normals("a")
    assert draws.dtype == np.float64
    assert abs(draws.mean()) < 5 / np.sqrt(N)
    assert abs(draws.std() - 1) < 0.005
    assert stats.kstest(draws, "norm").pvalue > 1e-3


def test_noise_has_tails() -> None:
    """The share beyond four deviations is that of the normal distribution."""
    beyond = int((np.abs(normals("tail", count=4 * N)) > 4).sum())
    expected = 4 * N * 2 * stats.norm.sf(4)
    assert abs(beyond - expected) < 5 * np.sqrt(expected)


def test_the_rarest_uniform_reaches_beyond_eight_deviations() -> None:
    """No sample of a test is large enough to see it; uniforms of 24 bits would end at 5.77."""

    class Rarest:
        def words(self, count: int) -> np.ndarray:
            return np.zeros(count, dtype=np.uint64)

    (value,) = standard_normal(Rarest(), 1)  # the mean of four such summands, times two
    assert value / 2 == pytest.approx(np.sqrt(2 * 53 * np.log(2)))


def test_float32_uniforms_would_fail_the_resolution() -> None:
    """Low bits are there: no two of a million draws agree, as 24-bit uniforms soon would."""
    assert np.unique(normals("bits")).size == N


def test_streams_of_different_names_are_independent() -> None:
    one, two = normals("noise", 0), normals("noise", 1)
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / np.sqrt(N)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 5 / np.sqrt(N)


def test_names_do_not_run_together() -> None:
    randomness = Randomness.seeded(1)
    assert randomness.subkey("a", 11) != randomness.subkey("a1", 1)
    assert randomness.subkey("a") != randomness.subkey("b")


def test_fresh_never_repeats_even_after_a_fork() -> None:
    keys = {Randomness.fresh().subkey("x") for _ in range(100)}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keys |= set(pool.map(_fresh_key, range(4)))
    assert len(keys) == 104


def _fresh_key(_: int) -> bytes:
    return Randomness.fresh().subkey("x")


def test_the_key_is_not_printed() -> None:
    randomness = Randomness.seeded(1)
    assert "key" not in repr(randomness)


def test_sampling_rate_is_kept() -> None:
    units = [f"u{i}" for i in range(200_000)]
    chosen = poisson_sample(units, 0.1, Randomness.seeded(2), step=0)
    assert abs(len(chosen) - 20_000) < 5 * np.sqrt(200_000 * 0.09)


def test_rates_are_never_exceeded() -> None:
    for rate in (1e-9, 0.1, 1 / 3, 0.999, 1.0):
        assert inclusion_threshold(rate) / 2**64 <= rate
    assert inclusion_threshold(1.0) == 2**64


def test_rate_one_takes_everybody() -> None:
    units = [f"u{i}" for i in range(1000)]
    assert poisson_sample(units, 1.0, Randomness.seeded(2), 0) == units


def test_a_new_unit_changes_no_other_draw() -> None:
    units = [f"u{i}" for i in range(1000)]
    randomness = Randomness.seeded(3)
    before = poisson_sample(units, 0.3, randomness, 0)
    after = poisson_sample(["new", *units], 0.3, randomness, 0)
    assert [u for u in after if u != "new"] == before


def test_steps_and_units_are_independent() -> None:
    units = [f"u{i}" for i in range(2000)]
    randomness = Randomness.seeded(4)
    drawn = np.zeros((60, len(units)))
    for step in range(60):
        chosen = set(poisson_sample(units, 0.5, randomness, step))
        drawn[step] = [u in chosen for u in units]
    pairs = np.corrcoef(drawn[:2])
    assert abs(pairs[0, 1]) < 5 / np.sqrt(len(units))
    neighbours = np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())
    assert abs(neighbours[0, 1]) < 5 / np.sqrt(drawn.size)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 2**18 + 1])
def test_any_count(count: int) -> None:
    assert normals("count", count=count).shape == (count,)
