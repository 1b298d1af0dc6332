# SPDX-License-Identifier: Apache-2.0
"""The lower bound: its definition, published figures, its validity, and the term for delta."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fedpeft.audit.bound import area_under_curve, epsilon_lower_bound, fewest_correct, p_value


def literal_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Theorem 5.2 of Steinke, Nasr, Jagielski (2023), sum by sum."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    law = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    beta = sum(law[v:])
    alpha = max((sum(law[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, beta + 2 * m * delta * alpha)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize(
    ("m", "r", "v"), [(10, 1, 1), (10, 10, 9), (100, 20, 20), (100, 20, 0), (300, 50, 30)]
)
def test_it_is_the_theorem(m: int, r: int, v: int, epsilon: float, delta: float) -> None:
    assert p_value(m, r, v, epsilon, delta) == pytest.approx(
        literal_p_value(m, r, v, epsilon, delta), abs=1e-12
    )


@pytest.mark.parametrize(("shift", "expected"), [(1, 1.13346), (2, 2.311945), (4, 4.395568)])
def test_published_figures(shift: float, expected: float) -> None:
    """10,000 canaries in, 10,000 out, whose scores stand at the quantiles of unit Gaussians ``shift`` apart;
    the best threshold "in", confidence 95 % over all thresholds on the hull of the ROC curve, delta 1e-6."""
    n = 10_000
    out = stats.norm.ppf((np.arange(n) + 0.5) / n)
    thresholds, true, false = hull(out + shift, out)
    significance = 0.05 / thresholds
    best = 0.0
    for correct, wrong in zip(true, false, strict=True):
        guesses = int(correct + wrong)
        if p_value(2 * n, guesses, int(correct), best, 1e-6) < significance:
            best = epsilon_lower_bound(2 * n, guesses, int(correct), 1e-6, significance)
    assert best == pytest.approx(expected, rel=1e-5)


def hull(inside: np.ndarray, outside: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Corners of the concave hull of (false, true) counts over all thresholds."""
    scores = np.concatenate((np.unique(np.concatenate((inside, outside))), [np.inf]))
    true = inside.size - np.searchsorted(np.sort(inside), scores)
    false = outside.size - np.searchsorted(np.sort(outside), scores)
    corners: list[tuple[int, int]] = []
    for point in zip(false[::-1].tolist(), true[::-1].tolist(), strict=True):
        while len(corners) >= 2:
            (x0, y0), (x1, y1) = corners[-2:]
            if (y1 - y0) * (point[0] - x1) > (point[1] - y1) * (x1 - x0):
                break
            corners.pop()
        corners.append(point)
    x, y = np.array(corners).T
    return len(corners), y, x


def test_the_term_for_delta_counts() -> None:
    """Without it the bound is too large: one public copy leaves it out."""
    with_it = epsilon_lower_bound(10_000, 200, 198, 1e-6, 0.001)
    assert with_it < epsilon_lower_bound(10_000, 200, 198, 0.0, 0.001) - 0.05


def test_the_bound_is_where_the_p_value_meets_the_significance() -> None:
    bound = epsilon_lower_bound(2000, 300, 280, 1e-6, 0.01)
    assert p_value(2000, 300, 280, bound, 1e-6) <= 0.01 < p_value(2000, 300, 280, bound + 1e-5, 1e-6)
    assert epsilon_lower_bound(2000, 300, 150, 1e-6, 0.01) == 0.0
    assert epsilon_lower_bound(10, 0, 0, 0.0, 0.01) == 0.0


def test_perfect_guessing_at_a_claim_of_eight_needs_thousands_of_canaries() -> None:
    needed = math.ceil(math.log(0.05) / math.log(1 / (1 + math.exp(-8))))
    assert 8900 < needed < 8960
    assert epsilon_lower_bound(needed, needed, needed, 0.0, 0.05) >= 8
    assert epsilon_lower_bound(needed - 1, needed - 1, needed - 1, 0.0, 0.05) < 8


def test_randomized_response_is_never_refuted_too_often() -> None:
    """The mechanism that the theorem is tight for: a guess is right with probability e^eps / (1 + e^eps)."""
    random = np.random.default_rng(0)
    q = 1 / (1 + math.exp(-1.0))
    refuted_from = fewest_correct(100, 100, 1.0, 0.0, 0.05)
    rate = np.mean(random.binomial(100, q, 20_000) >= refuted_from)
    assert 0.01 < rate <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 20_000)
    leaky = np.mean(random.binomial(100, 1 / (1 + math.exp(-1.8)), 20_000) >= refuted_from)
    assert leaky > 0.5  # the control


def test_the_fewest_correct_is_where_refuting_begins() -> None:
    at = fewest_correct(1000, 100, 1.0, 1e-5, 0.01)
    assert p_value(1000, 100, at, 1.0, 1e-5) <= 0.01 < p_value(1000, 100, at - 1, 1.0, 1e-5)
    assert fewest_correct(10, 5, 3.0, 0.0, 0.001) == 6  # not even all


@pytest.mark.parametrize("counts", [(10, 11, 5), (10, 5, 6), (10, 5, -1)])
def test_counts_must_nest(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="canaries"):
        p_value(*counts, 1.0, 0.0)


def test_area_under_the_curve() -> None:
    included = np.array([True, True, False, False])
    assert area_under_curve(np.array([4.0, 3.0, 2.0, 1.0]), included) == 1.0
    assert area_under_curve(np.array([1.0, 2.0, 3.0, 4.0]), included) == 0.0
    assert area_under_curve(np.array([1.0, 1.0, 1.0, 1.0]), included) == 0.5
    assert math.isnan(area_under_curve(np.array([1.0, 2.0]), np.array([True, True])))
