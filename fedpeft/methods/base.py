# SPDX-License-Identifier: Apache-2.0
"""What a method is: defaults for keys that a run's file leaves open, and how it is carried out.

A method is one file in this folder with one final class ``Preset`` that derives from ``Method``; the file's
name is the option (``dp_lora.py`` is ``method = "dp-lora"``). Nothing here imports a tensor library.

No preset can weaken a guarantee: the keys that it may fill in are listed here, and none of them is about
epsilon, delta, the unit, the arithmetic, the data or what is declared public.
"""

from __future__ import annotations

import importlib
from abc import ABC
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

Value = str | int | float | bool
How = Literal["rounds", "each-alone", "one-place", "unprotected", "unprotected-pooled", "noised-inputs"]

MAY_SET: Final = frozenset(
    {
        "adapter.kind",
        "adapter.start",
        "privacy.allocation",
        "privacy.lambda2",
        "privacy.clipping",
        "federation.aggregation",
        "federation.server_optimizer",
        "federation.lambda1",
        "selection.selector",
    }
)
"""Keys that decide what a budget buys, never how large it is or what it protects."""


class Method(ABC):
    """A named system. Attributes of the class say all there is to say.

    Attributes:
        source: the paper, or ``"fedpeft"``.
        sets: values by key (``"adapter.kind"``), filled in where the run's file says nothing.
        how: ``rounds``: by the sites, each with its own noise. The others are references, for simulations
            only: each site alone; all records in one place with noise; the same two ways of training without
            clipping and noise; frozen states of the inputs noised once.
        no_guarantee: why there is no sentence to sign; ``None`` where there is one.
        has_epsilon: whether the run's epsilon is kept by what is trained.
    """

    source: ClassVar[str]
    sets: ClassVar[Mapping[str, Value]] = {}
    how: ClassVar[How] = "rounds"
    no_guarantee: ClassVar[str | None] = None
    has_epsilon: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Refuse a preset that would touch what a guarantee rests on.

        Raises:
            TypeError: as said, or a reference that does not say why it guarantees nothing.
        """
        outside = sorted(set(cls.sets) - MAY_SET)
        if outside:
            raise TypeError(f"{cls.__module__}: a preset must not set {', '.join(outside)}")
        if (cls.how == "rounds") != (cls.no_guarantee is None):
            raise TypeError(f"{cls.__module__}: exactly the references guarantee nothing, and say why")


def find(name: str) -> type[Method]:
    """The method in the file of that name.

    Raises:
        ModuleNotFoundError: there is none; a checked configuration names none such.
    """
    module = importlib.import_module(f"fedpeft.methods.{name.replace('-', '_')}")
    preset: type[Method] = module.Preset
    return preset
