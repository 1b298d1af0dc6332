# SPDX-License-Identifier: Apache-2.0
"""The discrete Gaussian: its law on small grids, its shape on the large one, the exact path, controls."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fedpeft.privacy import discrete_gaussian as module
from fedpeft.privacy.discrete_gaussian import MAX_SCALE_BITS, discrete_gaussian
from fedpeft.privacy.randomness import KeyedStream, Randomness

N = 1_000_000


def draws(*names: object, count: int = N, scale_bits: int = MAX_SCALE_BITS) -> np.ndarray:
    return discrete_gaussian(Randomness.seeded(11).stream(*names), count, scale_bits)


def p_value(values: np.ndarray, scale_bits: int) -> float:
    """Chi-square against the definition, the tails pooled."""
    scale = 2.0**scale_bits
    edge = math.ceil(3.5 * scale)
    support = np.arange(-math.ceil(12 * scale), math.ceil(12 * scale) + 1)
    law = np.exp(-(support**2) / (2 * scale**2))
    clipped_law = np.bincount(np.clip(support, -edge, edge) + edge, law / law.sum())
    counted = np.bincount(np.clip(values, -edge, edge) + edge, minlength=2 * edge + 1)
    return float(stats.chisquare(counted, clipped_law * values.size).pvalue)


@pytest.mark.parametrize("scale_bits", [0, 1, 2, 5])
def test_it_has_the_law_of_its_definition(scale_bits: int) -> None:
    assert p_value(draws("law", scale_bits=scale_bits), scale_bits) > 1e-3


def test_another_law_would_be_noticed() -> None:
    """Controls: a rounded normal, zero counted twice, a law 2 % too wide."""
    normal = np.random.default_rng(0).standard_normal(N)
    assert p_value(np.rint(normal).astype(np.int64), 0) < 1e-9
    values = draws("control", scale_bits=2)
    doubled = np.concatenate((values, values[values == 0]))
    assert p_value(doubled, 2) < 1e-9
    assert p_value(np.rint(4.08 * normal).astype(np.int64), 2) < 1e-9


def test_on_the_large_grid_it_is_normal() -> None:
    values = draws("normal") / 2.0**MAX_SCALE_BITS
    assert abs(values.mean()) < 5 / math.sqrt(N)
    assert abs(values.std() - 1) < 0.005
    assert stats.kstest(values, "norm").pvalue > 1e-3


def test_it_has_tails() -> None:
    values = np.abs(draws("tail", count=4 * N)) / 2.0**MAX_SCALE_BITS
    for bound in (3, 4, 4.5):
        expected = 4 * N * 2 * stats.norm.sf(bound)
        assert abs(int((values > bound).sum()) - expected) < 5 * math.sqrt(expected)


def test_the_low_bits_are_uniform() -> None:
    """A float sampler scaled up would leave a pattern there."""
    low = np.bincount(draws("bits") & 255, minlength=256)
    assert stats.chisquare(low).pvalue > 1e-3
    coarse = (np.random.default_rng(0).standard_normal(N).astype(np.float32) * 2.0**40).astype(np.int64)
    assert stats.chisquare(np.bincount(coarse & 255, minlength=256)).pvalue < 1e-9


def test_draws_are_independent_of_their_neighbours_and_of_other_streams() -> None:
    one, two = draws("noise", 0) / 2.0**40, draws("noise", 1) / 2.0**40
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / math.sqrt(N)
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(one[lag:], one[:-lag])[0, 1]) < 5 / math.sqrt(N)
    assert abs(np.corrcoef(np.abs(one[1:]), np.abs(one[:-1]))[0, 1]) < 5 / math.sqrt(N)


@pytest.mark.parametrize("scale_bits", [0, 7, MAX_SCALE_BITS])
def test_the_exact_path_decides_as_the_fast_one(monkeypatch: pytest.MonkeyPatch, scale_bits: int) -> None:
    """Every trial decided with hundreds of digits gives the very same numbers."""
    fast = draws("paths", count=2000, scale_bits=scale_bits)
    monkeypatch.setattr(module, "_MARGIN", 2.0)
    assert np.array_equal(draws("paths", count=2000, scale_bits=scale_bits), fast)


def test_a_wrong_fast_path_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = draws("paths", count=2000)
    monkeypatch.setattr(np, "ldexp", lambda x, n: x * 2.0**n * 1.01)
    assert not np.array_equal(draws("paths", count=2000), exact)


def test_the_float_threshold_is_within_the_margin() -> None:
    """The comparison in float64 is exact only while p is known to far better than the margin."""
    rng = np.random.default_rng(3)
    for size in [*rng.integers(0, 23 * 2**40, 300).tolist(), 0, 1, 2**40 - 1, 2**40, 23 * 2**40 - 1]:
        whole, ratio = size >> 40, size * 2.0**-40
        threshold = np.ldexp(np.exp(0.5 - 0.5 * ratio * ratio), whole - 1)
        low, high = (threshold + sign * module._MARGIN / 32 for sign in (-1, 1))
        nothing = KeyedStream(bytes(32))
        if low > 0:
            assert module._is_below(int(low * 2.0**64), whole, size, 40, nothing)
        if high < 1:
            assert not module._is_below(math.ceil(high * 2.0**64), whole, size, 40, nothing)


class Scripted:
    """A stream with given words."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def words(self, count: int) -> np.ndarray:
        taken, self.left = self.left[:count], self.left[count:]
        assert len(taken) == count
        return np.array(taken, dtype=np.uint64)


def test_a_tie_is_decided_by_further_bits() -> None:
    """For k = 0 the probability is exp(1/2) / 2; a uniform number that begins like it needs more bits."""
    p = sum((Fraction(1, 2) ** k / math.factorial(k) for k in range(60)), Fraction(0)) / 2
    first, second = int(p * 2**64), int(p * 2**128) % 2**64
    assert module._is_below(first, 0, 0, 40, Scripted(second - 1))
    assert not module._is_below(first, 0, 0, 40, Scripted(second + 1))
    third = int(p * 2**192) % 2**64
    assert module._is_below(first, 0, 0, 40, Scripted(second, third - 1))
    assert not module._is_below(first, 0, 0, 40, Scripted(second, third + 1))


def test_a_run_of_ones_goes_on_in_the_next_word() -> None:
    ones = 2**64 - 1
    assert module._run_of_ones(Scripted(0)) == 0
    assert module._run_of_ones(Scripted(0b0111)) == 3
    assert module._run_of_ones(Scripted(ones, ones, 0b01)) == 129
    stream = Scripted(ones, 0, 0b0011, *[0] * 7)  # bits, U = 0, the end of the run, more of U
    values = module._trials(stream, 1, 40)
    assert values.tolist() == [-((25 << 40) + 2**40 - 1)]


def test_minus_zero_is_refused() -> None:
    plus, minus = 0, 1 << 40
    assert module._trials(Scripted(plus, 0), 1, 40).tolist() == [0]
    assert module._trials(Scripted(minus, 0), 1, 40).tolist() == []


@pytest.mark.parametrize("count", [0, 1, 2, 2**17 + 1])
def test_any_count(count: int) -> None:
    values = draws("count", count=count)
    assert values.shape == (count,)
    assert values.dtype == np.int64
