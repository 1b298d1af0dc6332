# SPDX-License-Identifier: Apache-2.0
"""The same noise everywhere: the ordinary Gaussian mechanism with one clip level."""

from __future__ import annotations

import math
from typing import final

from fedpeft.privacy.allocation.base import Allocation, AllocationRule
from fedpeft.types import Layout


@final
class Rule(AllocationRule):
    """Equal shares; every scale is C."""

    def allocate(self, layout: Layout, clip_norm: float) -> Allocation:
        """Shares 1/S and clip levels C/sqrt(S), so that b_s = C for every segment."""
        num_segments = len(layout.segments)
        share, level = 1 / num_segments, clip_norm / math.sqrt(num_segments)
        return Allocation((share,) * num_segments, (level,) * num_segments)
