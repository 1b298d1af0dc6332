# SPDX-License-Identifier: Apache-2.0
"""Composition by Renyi divergences (Mironov 2017, arXiv:1702.07476), by dp-accounting at its default orders.

A curve over orders is a sum over steps, whoever chose them, so a step more costs one addition.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fedpeft.privacy.accounting.groups import Groups, coarse

Curve = npt.NDArray[np.float64]


def bound(groups: Groups, delta: float) -> float:
    """An upper bound of epsilon."""
    return to_epsilon(curve(coarse(groups)), delta) if groups else 0.0


def curve(groups: Groups) -> Curve:
    """``(orders,)`` Renyi divergences of all steps; infinite where an order did not converge."""
    curves: Curve = np.array([steps * step_curve(sigma, rate) for sigma, rate, steps in groups])
    return np.asarray(curves.sum(axis=0), dtype=np.float64)


def to_epsilon(divergences: Curve, delta: float) -> float:
    """The smallest epsilon over the orders."""
    from dp_accounting.rdp import compute_epsilon

    return float(compute_epsilon(_orders(), divergences, delta)[0])


@functools.lru_cache(maxsize=4096)
def step_curve(sigma: float, rate: float) -> Curve:
    """``(orders,)`` Renyi divergences of one step."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()
    with _without_order_warnings():
        event = dp_accounting.GaussianDpEvent(sigma)
        accountant.compose(dp_accounting.PoissonSampledDpEvent(rate, event))
    return np.asarray(accountant.rdp, dtype=np.float64)


@functools.cache
def _orders() -> Any:
    from dp_accounting.rdp import RdpAccountant

    return RdpAccountant().orders


@contextmanager
def _without_order_warnings() -> Iterator[None]:
    """Hide the note that an order did not converge: leaving one out can only raise the bound."""
    logger = logging.getLogger("absl")

    def wanted(record: logging.LogRecord) -> bool:
        return "failed to converge" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
