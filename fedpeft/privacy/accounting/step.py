# SPDX-License-Identifier: Apache-2.0
"""The privacy loss distribution of one step: the library's, with all points of its grid computed at once.

``dp_accounting`` asks for the place where the loss takes a value point by point, in Python, which is nearly
all of the time that a new kind of step costs. Only that place is computed here. A hockey-stick divergence is
the largest of ``P(A) - e^epsilon Q(A)`` over all sets A, taken at the half-line that ends there: a place that
is off by a rounding error changes it in second order only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_Vector = npt.NDArray[np.float64]


def distribution(sigma: float, rate: float, grid: float) -> Any:
    """Of a Gaussian of multiplier ``sigma`` over a Poisson sample; pessimistic connect-the-dots.

    Doroshenko et al. 2022 (arXiv:2207.04380), algorithm 1, as the library's
    ``from_gaussian_mechanism``.

    Args:
        sigma: noise multiplier.
        rate: sampling rate; at 1 adding and removing a unit are alike.
        grid: width of the grid of losses.
    """
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    remove = _mass(sigma, rate, grid, adding=False)
    if rate == 1:
        return PrivacyLossDistribution(remove)
    return PrivacyLossDistribution(remove, _mass(sigma, rate, grid, adding=True))


def divergences(loss: Any, sigma: float, rate: float, epsilons: _Vector, *, adding: bool) -> _Vector:
    """``(n,)`` hockey-stick divergences of a step at ``(n,)`` epsilons.

    Args:
        loss: the library's ``GaussianPrivacyLoss`` of the step, for its distribution functions.
        sigma: noise multiplier.
        rate: sampling rate.
        epsilons: of any sign.
        adding: a unit, rather than removing one.
    """
    edge = -math.log1p(-rate) if rate < 1 else math.inf
    inside = epsilons < edge if adding else epsilons > -edge  # elsewhere one density is above the other
    found = np.zeros_like(epsilons) if adding else np.maximum(-np.expm1(epsilons), 0.0)
    at = epsilons[inside]
    places = 0.5 + sigma**2 * _unsampled(-at, rate) if adding else -0.5 - sigma**2 * _unsampled(at, rate)
    found[inside] = loss.mu_upper_cdf(places) - np.exp(at + loss.mu_lower_log_cdf(places))
    return np.asarray(np.clip(found, 0.0, 1.0))


def _unsampled(losses: _Vector, rate: float) -> _Vector:
    """``log(1 + (e^loss - 1) / rate)``: the loss that the step would have at rate 1."""
    if rate == 1:
        return losses
    inner = rate * np.exp(-losses) - np.expm1(-losses)
    with np.errstate(divide="ignore"):  # rounded to zero at the edge, which lies infinitely far out
        return np.asarray(losses - math.log(rate) + np.log(np.maximum(inner, 0.0)))


def _mass(sigma: float, rate: float, grid: float, *, adding: bool) -> Any:
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

    adjacency = AdjacencyType.ADD if adding else AdjacencyType.REMOVE
    loss = GaussianPrivacyLoss(sigma, sampling_prob=rate, adjacency_type=adjacency)
    bounds = loss.connect_dots_bounds()
    low, high = math.floor(bounds.epsilon_lower / grid), math.ceil(bounds.epsilon_upper / grid)
    epsilons = np.arange(low, high + 1) * grid
    deltas = divergences(loss, sigma, rate, epsilons, adding=adding)
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(grid, low, high, deltas)
