# SPDX-License-Identifier: Apache-2.0
"""Clipping of whole unit gradients: what gives the sum its sensitivity.

All rules keep ``|z|`` below 1 over the *whole* trainable vector, never tensor by tensor:

* ``automatic``: z / (|z| + 0.01) (Bu et al., Automatic Clipping, arXiv 2206.07136)
* ``flat``: z * min(1, 1 / |z|)
* ``quantile``: as flat, and each unit votes on whether that was too short (Andrew et al., arXiv 1905.03871)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from fedpeft.errors import MechanismError

SENSITIVITY: Final = 1.0
"""Largest L2 norm one clipped unit adds to the sum."""

ROUNDING_SLACK: Final = 2.0**-14
"""Relative head-room below the sensitivity: norms, factors and sums are float64 and need far less."""

SCALE_RANGE: Final = (2.0**-40, 2.0**40)
"""Scales outside would let float64 underflow or overflow where a gradient does not."""

FROZEN_SCALE: Final = SCALE_RANGE[1]
"""A segment at this scale takes no part: it fills none of the clip norm, and nothing is released for it."""

RULES: Final = ("automatic", "flat", "quantile")

VOTE: Final = 0.1
"""Length that a unit's vote takes of its norm under ``quantile``; the gradient keeps ``KEPT`` of it."""

KEPT: Final = math.sqrt(1 - VOTE**2)

_GAMMA: Final = 0.01


def is_scale(scale: float) -> bool:
    """Whether a segment may be scaled by it; NaN may not."""
    low, high = SCALE_RANGE
    return low <= scale <= high


def clip_factors(
    gradients: Sequence[Tensor], scales: Sequence[float], clipping: str, bound: float = SENSITIVITY
) -> Tensor:
    """The ``(n,)`` float64 factor of each unit's scaled gradient; 0 for one that is not finite.

    Args:
        gradients: for each segment ``(n, *shape)``.
        scales: for each segment its scale b_s; z_s = g_s / b_s.
        clipping: one of ``RULES``.
        bound: in (0, 1]; what these units are clipped to.

    Raises:
        MechanismError: another rule.
    """
    squares = torch.zeros(gradients[0].shape[0], dtype=torch.float64, device=gradients[0].device)
    for gradient, scale in zip(gradients, scales, strict=True):
        # In float32 small entries of a wide segment are lost, or square to zero, and a norm comes out short.
        norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
        squares += (norm / scale).square()
    norms = squares.sqrt()
    if clipping == "automatic":
        factors = bound / (norms + _GAMMA)
    elif clipping in ("flat", "quantile"):
        factors = bound / norms.clamp(min=bound)
    else:
        raise MechanismError(f"privacy.clipping: {clipping!r}; known rules are {', '.join(RULES)}")
    factors = factors * (SENSITIVITY - ROUNDING_SLACK)
    return torch.where(norms.isfinite(), factors, 0.0)


def votes(factors: Tensor) -> Tensor:
    """``(n,)`` of each unit, from its factor under ``quantile``: 1 where short enough, -1 where clipped.

    0 where it is not finite.
    """
    signs = torch.where(factors >= SENSITIVITY - ROUNDING_SLACK, 1.0, -1.0).to(factors.dtype)
    return torch.where(factors == 0, 0.0, signs)


def released_size(size: int, clipping: str) -> int:
    """Numbers that a release of ``size`` parameters has: one more where units vote."""
    return size + (clipping == "quantile")
