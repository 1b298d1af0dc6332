# SPDX-License-Identifier: Apache-2.0
"""What opacus' accountants say about the same steps."""

from __future__ import annotations

import functools
import math
import warnings
from contextlib import suppress
from dataclasses import dataclass

from fedpeft.privacy.accounting.groups import Groups

_MAX_PRV_EPSILON = 200.0  # beyond it opacus' PRV accountant takes a minute
_MAX_PRV_GROUPS = 256  # likewise


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """An epsilon of opacus' accountants.

    Attributes:
        epsilon: an upper bound of its own.
        accountant: ``"prv"``, or ``"rdp"`` where the former cannot be computed.
        tolerance: how far above a correct figure it may lie; a first opinion below
            ``epsilon - tolerance`` is contradicted. Infinite for ``"rdp"``, which is loose.
    """

    epsilon: float
    accountant: str
    tolerance: float


def renyi_of_opacus(groups: Groups, order: int) -> float:
    """Renyi divergence of all steps at an order, in its own words."""
    from opacus.accountants.analysis.rdp import compute_rdp

    parts = [compute_rdp(q=q, noise_multiplier=s, steps=n, orders=[order]) for s, q, n in groups]
    return math.fsum(float(part[0]) for part in parts)


@functools.lru_cache(maxsize=64)
def opinion_of_opacus(groups: Groups, delta: float) -> SecondOpinion:
    """Its PRV accountant (Gopi et al. 2021, arXiv:2106.02848), else its RDP accountant."""
    from opacus.accountants import PRVAccountant, RDPAccountant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of orders and of logarithms that it handles
        rdp = RDPAccountant()
        rdp.history = list(groups)
        bound = float(rdp.get_epsilon(delta))
        prv = PRVAccountant()
        # Its formulas hold log(1 - rate); so near to one the figure is that of the full batch.
        prv.history = [(sigma, min(rate, 1 - 1e-9), steps) for sigma, rate, steps in groups]
        # The mesh shrinks with the root of the steps; this keeps it at a few million points.
        resolution = max(0.01, 1e-6 * bound * math.sqrt(sum(steps for _, _, steps in groups)))
        figure = math.nan
        if bound <= _MAX_PRV_EPSILON and len(groups) <= _MAX_PRV_GROUPS:
            with suppress(RuntimeError, ValueError):  # its ways to say that the numbers do not allow it
                figure = float(prv.get_epsilon(delta, eps_error=resolution))
    if math.isfinite(figure):
        return SecondOpinion(figure, "prv", 2 * resolution)
    return SecondOpinion(bound, "rdp", math.inf)
