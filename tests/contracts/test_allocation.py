# SPDX-License-Identifier: Apache-2.0
"""What every allocation rule in its folder promises, and what no allocation may be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedpeft.config import option_names
from fedpeft.errors import MechanismError
from fedpeft.privacy.allocation.base import Allocation, find
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.types import Layout, Segment

LAYOUT = Layout(
    (Segment("a", 0, "m", (6,), 0), Segment("b", 1, "m", (2, 3), 6), Segment("c", 1, "n", (1,), 12))
)


@pytest.mark.parametrize("name", option_names("privacy.allocation"))
@pytest.mark.parametrize("clip_norm", [1e-12, 0.3, 1.0, 1e12])
def test_shares_are_a_budget_and_a_unit_stays_within_the_sensitivity(name: str, clip_norm: float) -> None:
    allocation = find(name).allocate(LAYOUT, clip_norm)
    assert len(allocation.shares) == len(LAYOUT.segments)
    assert all(share > 0 for share in allocation.shares)
    assert abs(math.fsum(allocation.shares) - 1) < 1e-9
    for level, share, scale in zip(allocation.clip_levels, allocation.shares, allocation.scales, strict=True):
        assert scale == pytest.approx(level / math.sqrt(share))
    mechanism = PoissonGaussianSum(
        LAYOUT,
        scales=allocation.scales,
        clipping="flat",
        noise_multiplier=1.0,
        sampling_rate=0.5,
        expected_batch=2.0,
        unit="record",
    )
    mechanism.add([torch.full((1, *segment.shape), 1e6) for segment in LAYOUT.segments])
    assert np.linalg.norm(mechanism._open()) <= 1.0


def test_uniform_is_one_clip_level_everywhere() -> None:
    assert find("uniform").allocate(LAYOUT, 0.7).scales == pytest.approx((0.7, 0.7, 0.7))


@pytest.mark.parametrize(
    ("shares", "levels"),
    [
        ((0.5, 0.6), (1.0, 1.0)),
        ((1.0, 0.0), (1.0, 1.0)),
        ((1.5, -0.5), (1.0, 1.0)),
        ((float("nan"), 1.0), (1.0, 1.0)),
        ((0.5, 0.5), (1.0, 0.0)),
        ((0.5, 0.5), (1.0, float("inf"))),
        ((0.5, 0.5), (1.0,)),
    ],
)
def test_what_is_no_allocation_is_refused(shares: tuple[float, ...], levels: tuple[float, ...]) -> None:
    with pytest.raises(MechanismError, match="allocation"):
        Allocation(shares, levels)
