# SPDX-License-Identifier: Apache-2.0
"""How the released updates of a round become one vector.

A rule is one file in this folder with a final class ``Rule`` that derives from ``Aggregator``; the file's
name is the option (``a_b.py`` is ``"a-b"``). ``tests/contracts/test_aggregation.py`` finds it by itself.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from fedpeft.errors import ConfigError
from fedpeft.types import FloatVector

DoubleVector = npt.NDArray[np.float64]


class Aggregator(ABC):
    """The aggregate of one round; a new object every round.

    Updates come one at a time and in the order of the sites' names, so that a rule that needs only a sum
    holds one vector whatever the number of sites, and the result is the same bit for bit every time.

    Args:
        size: length ``d`` of the adapter vector.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def add(self, update: FloatVector, weight: float) -> None:
        """Take in one site's release.

        Args:
            update: ``(d,)`` float32, finite; not kept unless the rule copies it.
            weight: public, finite and positive: the number of units the site's steps expect. Never a
                number that depends on private data.

        Raises:
            ValueError: another length, or a weight out of its range.
        """

    @abstractmethod
    def result(self) -> DoubleVector:
        """The aggregate, ``(d,)`` float64, finite.

        Raises:
            ValueError: nothing was added.
        """

    def check(self, update: FloatVector, weight: float) -> None:
        """Refuse what ``add`` must refuse."""
        if update.shape != (self.size,):
            raise ValueError(f"update: shape {update.shape}, must be ({self.size},)")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight: {weight!r} must be finite and positive")


def available() -> list[str]:
    """Names of the rules in this folder, as ``[federation] aggregation`` takes them."""
    return sorted(_rules())


def find(name: str) -> type[Aggregator]:
    """The rule of that name.

    Raises:
        ConfigError: no such file.
    """
    rules = _rules()
    if name not in rules:
        known = ", ".join(sorted(rules))
        raise ConfigError(f"federation.aggregation: {name!r} is not known; choose one of {known}")
    return rules[name]


def _rules() -> dict[str, type[Aggregator]]:
    package = importlib.import_module("fedpeft.aggregation")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = {name: vars(importlib.import_module(f"{package.__name__}.{name}")) for name in names}
    return {name.replace("_", "-"): module["Rule"] for name, module in modules.items() if "Rule" in module}
