# SPDX-License-Identifier: Apache-2.0
"""How many trainable dimensions a guarantee carries: signal against noise over a whole run.

Per step site k adds noise of standard deviation ``sigma_k`` to each coordinate of its sum of clipped
gradients (sensitivity 1), and the mean over sites weights by expected batches, so that what is applied is::

    (sum_k clipped gradients of B_k units + sum_k noise_k) / sum_k B_k

With s the norm of the mean clipped gradient, the signal of T such steps is ``T s sum_k B_k``; their noise has
norm ``sqrt(T d sum_k sigma_k^2)``. Noise is added at each site, because none trusts the coordinator: K sites
of one multiplier add K times the variance that a trusted curator of the same units would.
Nothing here bounds privacy; it tells whether a run can learn under the noise that the accountant asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedpeft.privacy.calibration import gaussian_mean
from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class DimensionRule:
    """Trainable dimensions against what epsilon and delta carry; a worst case, and never a stop.

    Attributes:
        trainable: d, the length of the adapter vector.
        carried: (effective units x mu)^2, the d at which noise is as large as a signal of norm 1.
        effective_units: declared units of all sites over the root of the number of sites, each weighted by
            its own mu where the sites' epsilons differ.
        mu: Gaussian-DP parameter of the run's epsilon and delta; of the largest epsilon.
    """

    trainable: int
    carried: float
    effective_units: float
    mu: float

    @property
    def holds(self) -> bool:
        """Whether d is at most c (effective units x mu)^2 with c = 1."""
        return self.trainable <= self.carried

    def to_json(self) -> JsonDict:
        """The figures for machines."""
        return {
            "trainable": self.trainable,
            "carried": self.carried,
            "share": self.trainable / self.carried,
            "effective_units": self.effective_units,
            "mu": self.mu,
        }

    def __str__(self) -> str:
        """What is carried and how it comes about."""
        factors = f"{self.effective_units:,.1f} x {self.mu:.3f}"
        return f"(effective units x mu)^2 = ({factors})^2 = {self.carried:,.0f}"

    def warnings(self) -> tuple[str, ...]:
        """One line where the rule does not hold."""
        if self.holds:
            return ()
        return (
            f"adapter: {self.trainable:,} trainable dimensions are above {self}, "
            f"{self.trainable / self.carried:,.3g} times what this epsilon carries in the worst case: lower "
            "adapter.rank, or train fewer adapter.layers",
        )


def dimension_rule(
    trainable: int, units: Sequence[int], epsilons: Sequence[float], delta: float
) -> DimensionRule:
    """Compare d with (effective units x mu)^2.

    With T releases of all units, ``sigma_k = sqrt(T) / mu_k`` (Dong et al. 2022, arXiv 1905.02383), so the
    signal over the noise is ``sum_k N_k / sqrt(d sum_k mu_k^-2)`` for s = 1, whatever T is. With one mu at
    all K sites that is ``(sum_k N_k / sqrt(K)) mu / sqrt(d)``. Subsampled steps reach less than this limit;
    their mu is that of the whole run's epsilon and delta too.

    Args:
        trainable: d.
        units: declared units of each site.
        epsilons: of each site, over the whole run.
        delta: of the run.
    """
    mus = {epsilon: gaussian_mean(epsilon, delta) for epsilon in set(epsilons)}
    noise = math.sqrt(sum(mus[epsilon] ** -2 for epsilon in epsilons))
    mu = max(mus.values())
    root = sum(units) / noise
    return DimensionRule(trainable, carried=root**2, effective_units=root / mu, mu=mu)


def signal_over_noise(
    expected_batches: Sequence[float], multipliers: Sequence[float], steps: int, trainable: float
) -> float:
    """Of all steps together, for a mean clipped gradient of norm 1: ``sqrt(T / (d sum sigma^2)) sum B``.

    A gradient of norm s has s times as much.

    Args:
        expected_batches: of each site.
        multipliers: of each site.
        steps: private steps that are taken.
        trainable: d; where sites differ in it, its mean weighted by the squared multipliers.
    """
    noise = math.sqrt(trainable * sum(sigma**2 for sigma in multipliers))
    return math.sqrt(steps) * sum(expected_batches) / noise
