# SPDX-License-Identifier: Apache-2.0
"""The average of the adapters of all rounds, in which noise partly cancels.

Weights grow with the round number like a polynomial of degree 8, so that the average follows the iterates
closely and keeps the last fifth or so of a run (Shamir and Zhang 2013, https://arxiv.org/abs/1212.1824,
section 4, eta = 8). It is a function of releases, so it costs no privacy, and nothing that sites are asked
depends on it: they go on from the last iterate.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fedpeft.aggregation.base import DoubleVector
from fedpeft.types import FloatVector

_DEGREE: Final = 8


def include(average: DoubleVector, adapter: FloatVector, round_number: int) -> DoubleVector:
    """The average after one more round.

    Args:
        average: ``(d,)`` over the rounds before; of no account in round 1.
        adapter: ``(d,)`` after the round.
        round_number: counts from 1.
    """
    weight = (_DEGREE + 1) / (round_number + _DEGREE)
    return np.asarray((1 - weight) * average + weight * adapter.astype(np.float64))
