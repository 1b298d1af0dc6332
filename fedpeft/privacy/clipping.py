# SPDX-License-Identifier: Apache-2.0
"""Clipping of whole unit gradients: what gives the sum its sensitivity.

Both rules keep ``|z|`` below 1 over the *whole* trainable vector, never tensor by tensor:

* ``automatic``: z / (|z| + 0.01) (Bu et al., Automatic Clipping, arXiv 2206.07136)
* ``flat``: z * min(1, 1 / |z|)
"""

from __future__ import annotations

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

_GAMMA: Final = 0.01


def is_scale(scale: float) -> bool:
    """Whether a segment may be scaled by it; NaN may not."""
    low, high = SCALE_RANGE
    return low <= scale <= high


def clip_factors(gradients: Sequence[Tensor], scales: Sequence[float], clipping: str) -> Tensor:
    """The ``(n,)`` float64 factor of each unit's scaled gradient; 0 for one that is not finite.

    Args:
        gradients: for each segment ``(n, *shape)``.
        scales: for each segment its scale b_s; z_s = g_s / b_s.
        clipping: ``"automatic"`` or ``"flat"``.

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
        factors = 1.0 / (norms + _GAMMA)
    elif clipping == "flat":
        factors = 1.0 / norms.clamp(min=1.0)
    else:
        raise MechanismError(f'privacy.clipping: {clipping!r}; known rules are "automatic" and "flat"')
    factors = factors * (SENSITIVITY - ROUNDING_SLACK)
    return torch.where(norms.isfinite(), factors, 0.0)
