# SPDX-License-Identifier: Apache-2.0
"""How noise is shared among segments: shares of the budget and public clip levels.

A rule is one file in this folder with a final class ``Rule``. It can cost utility, never privacy: the
mechanism's sensitivity is 1 whatever the scales are.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from fedpeft.errors import MechanismError
from fedpeft.types import Layout


@dataclass(frozen=True, slots=True)
class Allocation:
    """Shares alpha_s > 0 that sum to 1, and public clip levels C_s > 0, one of each for a segment."""

    shares: tuple[float, ...]
    clip_levels: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no allocation.

        Raises:
            MechanismError: numbers that are not finite and positive, or shares that do not sum to 1.
        """
        numbers = self.shares + self.clip_levels
        if len(self.shares) != len(self.clip_levels) or not all(math.isfinite(x) and x > 0 for x in numbers):
            raise MechanismError("allocation: needs one finite positive share and clip level a segment")
        if abs(math.fsum(self.shares) - 1) > 1e-9:
            raise MechanismError(f"allocation: shares sum to {math.fsum(self.shares)!r}, must sum to 1")

    @property
    def scales(self) -> tuple[float, ...]:
        """b_s = C_s / sqrt(alpha_s); the noise of segment s has standard deviation sigma b_s."""
        return tuple(c / math.sqrt(a) for c, a in zip(self.clip_levels, self.shares, strict=True))


class AllocationRule(ABC):
    """Makes the allocation of a round."""

    @abstractmethod
    def allocate(self, layout: Layout, clip_norm: float) -> Allocation:
        """For a layout and the scale C of the whole vector."""


def find(name: str) -> AllocationRule:
    """The rule in the module of that name (``"a-b"`` is ``a_b.py``)."""
    module = importlib.import_module(f"fedpeft.privacy.allocation.{name.replace('-', '_')}")
    rule: AllocationRule = module.Rule()
    return rule
