# SPDX-License-Identifier: Apache-2.0
"""The grid: sensitivity in integers, exactness, overflow; and what tells it from float64."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from fedpeft.config.options import option_names
from fedpeft.errors import MechanismError
from fedpeft.privacy.arithmetic.base import Arithmetic, find
from fedpeft.privacy.randomness import Randomness

MULTIPLIERS = (0.1, 0.7, 1.5, 1 / 3, 50.0, 1e6)


def rows_of(num_units: int, size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of norm 1, and factors that keep them within the clip."""
    rows = torch.randn(num_units, size, generator=torch.Generator().manual_seed(seed))
    return (1 - 2.0**-14) / rows.double().norm(dim=1), rows


def filled(name: str, multiplier: float, num_units: int, size: int, seed: int = 0) -> Arithmetic:
    sum_ = find(name, size, multiplier)
    sum_.add(slice(0, size), *rows_of(num_units, size, seed))
    return sum_


@pytest.mark.parametrize("name", option_names("privacy.arithmetic"))
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_every_kind_states_the_multiplier_it_was_asked_for(name: str, multiplier: float) -> None:
    assert find(name, 10, multiplier).noise_multiplier == multiplier


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_the_grid_has_at_least_the_noise_that_it_states(multiplier: float) -> None:
    """(s^2 - 64^2) / L^2 >= sigma^2 in exact rational numbers, and by hardly more than that."""
    steps = find("grid", 10, multiplier)._steps
    variance = Fraction(2**80 - 64**2) / steps**2
    assert variance >= Fraction(multiplier) ** 2
    assert Fraction(2**80 - 64**2) / (steps + 1 + steps // 10**5) ** 2 < Fraction(multiplier) ** 2


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_unit_adds_integers_of_norm_at_most_the_sensitivity(multiplier: float, size: int) -> None:
    """In exact integers, so that no rounding of the check hides one of the code."""
    sum_ = filled("grid", multiplier, 1, size)
    squared = sum(int(x) ** 2 for x in sum_._sum)
    assert squared <= sum_._steps**2
    assert squared >= (sum_._steps * (1 - 2.0**-10)) ** 2


@pytest.mark.parametrize("size", [89, 81_168])
def test_the_worst_rounding_stays_within_the_sensitivity(size: int) -> None:
    """Clipped entries all above half a step: unless the unit is shrunk, rounding breaks the bound."""
    steps = 1000  # as with an immense multiplier, so that rounding matters
    sum_ = find("grid", size, float(Fraction(2**40 - 2**10) / steps) * (1 - 2.0**-50))
    assert sum_._steps == steps
    clipped = (1 - 2.0**-14) / math.sqrt(size)
    factor = torch.tensor([clipped], dtype=torch.float64)
    sum_.add(slice(0, size), factor, torch.ones((1, size), dtype=torch.float64))
    assert sum(int(x) ** 2 for x in sum_._sum) <= steps**2
    assert size * round(steps * clipped) ** 2 > steps**2  # the control: unshrunk


def test_adding_a_unit_changes_nothing_else_in_the_grid() -> None:
    """The others' share is the same integers in whatever order and company they come; float64's is not."""
    size, (factors, rows) = 1000, rows_of(9, 1000)
    order = torch.tensor([3, 8, 1, 0, 7, 2, 6, 4, 5])
    once, other = find("grid", size, 1.5), find("grid", size, 1.5)
    once.add(slice(0, size), factors, rows)
    for part in order.split(4):
        other.add(slice(0, size), factors[part], rows[part])
    assert np.array_equal(once._sum, other._sum)
    once, other = find("float", size, 1.5), find("float", size, 1.5)
    once.add(slice(0, size), factors, rows)
    for part in order.split(4):
        other.add(slice(0, size), factors[part], rows[part])
    assert not np.array_equal(once._sum, other._sum)


def test_releases_of_the_grid_lie_on_the_grid() -> None:
    """What the data are cannot be seen in the low bits; float64 leaves the grid."""
    for name, on_grid in (("grid", True), ("float", False)):
        value = filled(name, 1.5, 3, 500).noised(Randomness.seeded(1).stream("noise"))
        steps = value * find("grid", 1, 1.5)._steps
        assert bool(np.all(np.abs(steps - np.rint(steps)) < 1e-2)) == on_grid


def test_an_overflow_wraps() -> None:
    """Adding in the integers modulo 2^64 is the same for neighbours; it must neither raise nor saturate."""
    sum_ = filled("grid", 1.5, 1, 4)
    before = sum_._sum.clone().numpy()
    sum_._sum += 2**63 - 1
    sum_.add(slice(0, 4), *rows_of(1, 4, seed=5))
    alone = filled("grid", 1.5, 1, 4, seed=5)._sum.numpy()
    expected = [
        (int(a) + int(b) + 2**63 - 1 + 2**63) % 2**64 - 2**63 for a, b in zip(before, alone, strict=True)
    ]
    assert sum_._sum.tolist() == expected
    assert np.isfinite(sum_.noised(Randomness.seeded(2).stream("noise"))).all()


def test_too_much_noise_for_the_grid_is_refused() -> None:
    with pytest.raises(MechanismError, match=r"noise_multiplier.*privacy.arithmetic"):
        find("grid", 10**6, 1e10)
    with pytest.raises(MechanismError, match="noise_multiplier"):
        find("grid", 1, 1e300)
    assert find("grid", 10**9, 1e6).noise_multiplier == 1e6  # the largest that any event may have
