# SPDX-License-Identifier: Apache-2.0
"""Noise energy plus lambda2 times how far noise moves the law of the gradient (arXiv:2512.06711's lambda2).

The paper adds lambda2 KL(p(noised g) || p(g)) to the training loss, where its value would be an un-noised
release and its gradient in the weights is zero. Here it stands where it acts, in the choice of the scales:

    minimize    sum_s w_s d_s r_s + lambda2 sum_s d_s/2 [rho_s - ln(1 + rho_s)]
    subject to  sum_s v_s / b_s^2 = sum_s v_s / C^2

with rho_s = n b_s^2 / V_s the noise over the signal variance of a coordinate, r_s = n b_s^2 / V the noise
over the mean signal variance, and the bracket the divergence between Gaussians of variance V_s + n b_s^2 and
V_s. In 1/b_s^2 the objective is convex and the constraint linear, so the stationary point is the minimum.
lambda2 = 0 is ``instability``.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, balanced, make_allocation
from fedpeft.privacy.allocation.history import DoubleVector, History
from fedpeft.privacy.allocation.instability import importance_weights, unit_parts

_BISECTIONS: Final = 60
_SMALLEST_SIGNAL: Final = 1e-6  # of the noise: below it the divergence is linear in the noise anyway


@final
class Rule(AllocationRule):
    """Least noise energy and divergence for the same expected length of a unit's gradient."""

    def allocate(self, facts: Facts, history: History) -> Allocation:
        """From the variance and the importance of each segment, and the noise there is."""
        levels = unit_parts(facts, history)
        squares = _squared_scales(
            facts.sizes,
            levels,
            importance_weights(facts, history),
            _unit_noise_ratio(facts, history),
            facts.lambda2,
        )
        return make_allocation(facts, levels, balanced(levels / squares, facts.sizes))


def _unit_noise_ratio(facts: Facts, history: History) -> float:
    """Noise of a coordinate at scale C, over the mean signal variance of a coordinate."""
    noise = history.unit_noise * facts.clip_norm**2
    signal = float(facts.sizes @ history.variance / facts.sizes.sum())
    ratio = noise / max(signal, _SMALLEST_SIGNAL * noise) if noise > 0 else 0.0
    return ratio if np.isfinite(ratio) else 0.0


def _squared_scales(
    sizes: DoubleVector, levels: DoubleVector, weights: DoubleVector, ratio: float, lambda2: float
) -> DoubleVector:
    """``(S,)`` (b_s / C)^2, by a root in the logarithm of the constraint's multiplier."""
    from scipy.optimize import brentq

    relative = levels * sizes.sum() / sizes  # V_s over the mean of all
    usual = float(np.sqrt(levels * weights * sizes).sum()) ** 2  # solves lambda2 = 0
    most = float((weights * sizes + lambda2 * sizes / (2 * relative)).max() / (weights * sizes).min())

    def squares(log_factor: float) -> DoubleVector:
        return _stationary(sizes, levels, weights, relative, ratio, lambda2, usual * np.exp(log_factor))

    def surplus(log_factor: float) -> float:
        return float(np.log((levels / squares(log_factor)).sum()))

    return squares(brentq(surplus, -1.0, 1.0 + np.log(most), xtol=1e-13))


def _stationary(
    sizes: DoubleVector,
    levels: DoubleVector,
    weights: DoubleVector,
    relative: DoubleVector,
    ratio: float,
    lambda2: float,
    multiplier: float,
) -> DoubleVector:
    """x_s with x_s^2 (w_s d_s + lambda2 d_s / (2 q_s) * rho / (1 + rho)) = multiplier c_s; q_s: ``relative``.

    rho is ratio x_s / q_s. The left side grows in x_s; it lies between itself without and with all of the
    second term.
    """
    extra = lambda2 * sizes / (2 * relative)
    high = np.sqrt(multiplier * levels / (weights * sizes))
    low = np.sqrt(multiplier * levels / (weights * sizes + extra))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        rho = ratio * middle / relative
        too_large = middle**2 * (weights * sizes + extra * rho / (1 + rho)) > multiplier * levels
        low, high = np.where(too_large, low, middle), np.where(too_large, middle, high)
    return (low + high) / 2
