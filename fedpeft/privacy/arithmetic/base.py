# SPDX-License-Identifier: Apache-2.0
"""The numbers in which clipped units are summed and noised.

A kind is one file in this folder with a final class ``Kind``. It holds the sum of one release, in the space
where a unit's norm is at most 1, and answers for the noise it draws.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fedpeft.privacy.randomness import KeyedStream


class Arithmetic(ABC):
    """The sum of one release, empty at first."""

    @property
    @abstractmethod
    def noise_multiplier(self) -> float:
        """That of a Gaussian mechanism which the release is a function of; what the event states."""

    @abstractmethod
    def add(self, where: slice, factors: Tensor, rows: Tensor) -> None:
        """Add one segment of n whole units.

        Args:
            where: the segment in the flat vector.
            factors: ``(n,)`` float64; ``factors[:, None] * rows`` are the clipped units.
            rows: ``(n, size of the segment)``, finite.
        """

    @abstractmethod
    def noised(self, stream: KeyedStream) -> npt.NDArray[np.float64]:
        """``(d,)`` the sum with noise of its own on every coordinate, in units of the sensitivity."""


def find(name: str, size: int, noise_multiplier: float) -> Arithmetic:
    """An empty sum of the kind in the module of that name (``"a-b"`` is ``a_b.py``).

    Args:
        name: value of ``privacy.arithmetic``.
        size: d, length of the flat vector.
        noise_multiplier: standard deviation of the noise over the sensitivity; finite and positive.

    Raises:
        MechanismError: a multiplier or a length that the kind cannot serve.
    """
    module = importlib.import_module(f"fedpeft.privacy.arithmetic.{name.replace('-', '_')}")
    kind: Arithmetic = module.Kind(size, noise_multiplier)
    return kind
