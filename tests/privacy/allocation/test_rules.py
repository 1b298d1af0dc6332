# SPDX-License-Identifier: Apache-2.0
"""The rules' closed forms are the optima they are said to be."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fedpeft.privacy.allocation import base
from fedpeft.privacy.allocation.base import Facts, find
from fedpeft.privacy.allocation.history import History

SIZES = np.array([400.0, 100.0, 800.0, 200.0, 400.0])
RANDOM = np.random.default_rng(3)
VARIANCE = 10.0 ** RANDOM.uniform(-0.6, 0.6, 5)
IMPORTANCE = 10.0 ** RANDOM.uniform(-0.6, 0.6, 5)
UNIT_NOISE = 0.8
HISTORY = History(9, VARIANCE, VARIANCE, IMPORTANCE, IMPORTANCE**0.5, np.full(5, UNIT_NOISE), UNIT_NOISE)


@pytest.fixture(autouse=True)
def _no_clamps(monkeypatch):
    """The optima are those of the formulas; the clamps have tests of their own."""
    monkeypatch.setattr(base, "_MOST", 1e9)


def _objective(squares, lambda2: float) -> float:
    """As methods write it, from the quantities themselves: noise energy and Gaussian divergence."""
    weights = np.sqrt(IMPORTANCE) * SIZES.sum() / (SIZES @ np.sqrt(IMPORTANCE))
    mean_variance = SIZES @ VARIANCE / SIZES.sum()
    energy = (weights * SIZES * UNIT_NOISE * squares / mean_variance).sum()
    rho = UNIT_NOISE * squares / VARIANCE
    return float(energy + lambda2 * (SIZES / 2 * (rho - np.log1p(rho))).sum())


def _length(squares) -> float:
    """Expected squared length of a scaled gradient, over what uniform scales give."""
    return float((SIZES * VARIANCE / squares).sum() / (SIZES * VARIANCE).sum())


def _optimum(lambda2: float) -> float:
    def value(x: np.ndarray) -> float:
        squares = np.exp(-x)
        return (
            _objective(squares * _length(squares), lambda2) / 1000
        )  # of the length that uniform scales give

    found = minimize(
        value, np.zeros(5), method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 20_000, "maxfev": 40_000, "adaptive": True},
    )  # fmt: skip
    assert found.success
    return 1000 * float(found.fun)


@pytest.mark.parametrize("lambda2", [0.0, 0.1, 1.0, 30.0])
def test_kl_is_the_minimum_of_its_objective(lambda2):
    squares = np.array(find("kl").allocate(Facts(SIZES, 1.0, lambda2), HISTORY).scales) ** 2
    assert _length(squares) == pytest.approx(1.0, rel=1e-9)
    assert _objective(squares, lambda2) == pytest.approx(_optimum(lambda2), rel=1e-6)
    assert _objective(squares, lambda2) < 0.99 * _objective(np.ones(5), lambda2)


def test_lambda2_moves_the_optimum():
    """The control of the test above: another lambda2's scales are not optimal."""
    squares = np.array(find("kl").allocate(Facts(SIZES, 1.0, 0.0), HISTORY).scales) ** 2
    assert _objective(squares, 30.0) > 1.01 * _optimum(30.0)


def test_kl_without_lambda2_is_instability():
    facts = Facts(SIZES, 0.4, 0.0)
    kl, instability = (find(name).allocate(facts, HISTORY).scales for name in ("kl", "instability"))
    assert kl == pytest.approx(instability, rel=1e-12)


def test_instability_is_the_closed_form():
    scales = np.array(find("instability").allocate(Facts(SIZES, 1.0), HISTORY).scales)
    expected = (VARIANCE / np.sqrt(IMPORTANCE)) ** 0.25
    np.testing.assert_allclose(scales / scales[0], expected / expected[0], rtol=1e-9)


def test_more_unstable_is_noisier_and_more_important_is_less():
    def scales(**changes):
        arrays = {name: np.ones(5) for name in ("variance", "importance")}
        arrays = {name: np.where(np.arange(5) == 2, changes.get(name, 1.0), a) for name, a in arrays.items()}
        history = History(
            9, arrays["variance"], np.ones(5), arrays["importance"], np.ones(5), np.ones(5), 1.0
        )
        return find("instability").allocate(Facts(SIZES, 1.0), history).scales

    assert scales(variance=4.0)[2] > scales(variance=4.0)[0]
    assert scales(importance=4.0)[2] < scales(importance=4.0)[0]


def test_anadp_gives_the_important_and_uncertain_less_noise():
    scales = np.array(find("anadp").allocate(Facts(SIZES, 1.0), HISTORY).scales)
    scores = np.sqrt(IMPORTANCE) * IMPORTANCE**0.25
    np.testing.assert_allclose(scales**2 * np.sqrt(scores), (scales[0] ** 2 * np.sqrt(scores[0])))


def test_no_share_or_level_strays_too_far(monkeypatch):
    monkeypatch.undo()
    values = np.array([1e9, 0.0, 1.0, 1.0, 1.0])
    parts = base.balanced(values, SIZES)
    usual = SIZES / SIZES.sum()
    # Within five times the usual part either way, up to the last normalization.
    assert ((parts / usual).max() / (parts / usual).min()) <= 25 * (1 + 1e-12)
    assert parts.sum() == pytest.approx(1.0, abs=1e-15)
