# SPDX-License-Identifier: Apache-2.0
"""How noise is shared among segments: shares of the budget and public clip levels.

A rule is one file in this folder with a final class ``Rule``. It sees public facts and what past releases
taught (:class:`~fedpeft.privacy.allocation.history.History`), nothing else. It can cost utility, never
privacy: the mechanism's sensitivity is 1 whatever the scales are.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from fedpeft.errors import MechanismError
from fedpeft.privacy.allocation.history import DoubleVector, History

_MOST: Final = 5.0  # times the part that a segment has of the elements, for a share or a squared level


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


@dataclass(frozen=True, slots=True)
class Facts:
    """What is public before a round.

    Attributes:
        sizes: ``(S,)`` elements of each segment.
        clip_norm: C, the scale of the whole vector; rules keep sum C_s^2 = C^2.
        lambda2: weight of the divergence in the rule ``kl``.
    """

    sizes: DoubleVector
    clip_norm: float
    lambda2: float = 0.0


class AllocationRule(ABC):
    """Makes the allocation of a round. Deterministic, and without state of its own."""

    learns: ClassVar[bool] = True
    """Whether it looks at the history; one that does not saves its keeping."""

    @abstractmethod
    def allocate(self, facts: Facts, history: History) -> Allocation:
        """For the ``(S,)`` segments of ``facts``, from what ``history`` knows of each."""


def find(name: str) -> AllocationRule:
    """The rule in the module of that name (``"a-b"`` is ``a_b.py``)."""
    module = importlib.import_module(f"fedpeft.privacy.allocation.{name.replace('-', '_')}")
    rule: AllocationRule = module.Rule()
    return rule


def balanced(values: DoubleVector, sizes: DoubleVector) -> DoubleVector:
    """Parts that sum to 1: as ``values``, but none beyond five times or a fifth of its part of the elements.

    Values that are all zero, or that overflow, give the parts of the elements.
    """
    usual: DoubleVector = sizes / sizes.sum()
    largest = values.max()
    if not (np.isfinite(values).all() and largest > 0):
        return usual
    parts = values / largest
    parts = np.clip(parts / parts.sum(), usual / _MOST, usual * _MOST)
    return np.asarray(parts / parts.sum())


def make_allocation(facts: Facts, levels: DoubleVector, shares: DoubleVector) -> Allocation:
    """From ``(S,)`` parts of C^2 and ``(S,)`` shares, each of which sums to 1."""
    clip_levels = facts.clip_norm * np.sqrt(levels)
    return Allocation(tuple(shares.tolist()), tuple(clip_levels.tolist()))
