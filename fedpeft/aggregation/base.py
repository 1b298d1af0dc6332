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
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedpeft.errors import ConfigError
from fedpeft.types import FloatVector

if TYPE_CHECKING:
    from fedpeft.aggregation.products import Product

DoubleVector = npt.NDArray[np.float64]


class Aggregator(ABC):
    """The aggregate of one round; a new object every round.

    Updates come one at a time and in the order of the sites' names, so that a rule that needs only a sum
    holds one vector whatever the number of sites, and the result is the same bit for bit every time.

    Args:
        size: length ``d`` of the adapter vector.

    Attributes:
        products: pairs of segments whose products are the updates of weights; none for linear kinds.
        state: ``(d,)`` the adapter that the updates start from; ``None`` stands for zeros.
        carried: ``(D - d,)`` what sites held fixed beside it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.products: tuple[Product, ...] = ()
        self.state: FloatVector | None = None
        self.carried: FloatVector = np.zeros(0, dtype=np.float32)

    def begin(self, products: Sequence[Product], state: FloatVector) -> None:
        """Say what the updates are about, before the first; most rules need not know.

        Args:
            products: of the run's adapter.
            state: ``(D,)`` as the round's requests carry it.
        """
        self.products = tuple(products)
        self.state, self.carried = state[: self.size], state[self.size :]

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

    def carried_after(self) -> FloatVector:
        """``(D - d,)`` float32, what sites hold fixed from the next round on; most rules change nothing."""
        return self.carried

    def check(self, update: FloatVector, weight: float) -> None:
        """Refuse what ``add`` must refuse."""
        if update.shape != (self.size,):
            raise ValueError(f"update: shape {update.shape}, must be ({self.size},)")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight: {weight!r} must be finite and positive")


NewAggregator = Callable[[FloatVector], Aggregator]
"""Makes the aggregate of a round that begins at a state ``(D,)``."""


def maker(name: str, products: Sequence[Product] = (), num_carried: int = 0) -> NewAggregator:
    """What makes the rule of that name, round after round.

    Args:
        name: of the rule.
        products: of the run's adapter.
        num_carried: numbers of a state that are no trained ones, D - d.

    Raises:
        ConfigError: no such file.
    """
    rule = find(name)

    def make(state: FloatVector) -> Aggregator:
        made = rule(state.size - num_carried)
        made.begin(products, state)
        return made

    return make


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
