# SPDX-License-Identifier: Apache-2.0
"""What a generator of synthetic data is.

A generator is one file in this folder with a final class ``Kind`` that derives from ``Generator``; the file's
name is the value of ``synthesis.generator``.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.types import FloatVector

if TYPE_CHECKING:
    from fedpeft.synthesis.writing import Writer


@dataclass(frozen=True, slots=True)
class Tally:
    """What the sites' noised histograms add up to.

    Attributes:
        counts: ``(num_bins,)`` float64; zeros without any site.
        noise: standard deviation of the noise on each count; 0 without any site.
    """

    counts: npt.NDArray[np.float64]
    noise: float


Poll = Callable[[npt.NDArray[np.float32]], Tally]
"""Has every site vote on the bins it is given, ``(num_bins, dimension)``, once."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a generator may use, all of it public or paid for.

    Attributes:
        poll: asks the sites for their votes.
        train: has the sites train the adapter to write pairs; ``None`` comes back where none of them did.
        writer: the backbone.
    """

    poll: Poll
    train: Callable[[], FloatVector | None] | None = None
    writer: Writer | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """Rows, and what a reader must know of how they came about; empty if nothing."""

    rows: tuple[SyntheticRow, ...]
    note: str = ""


class Generator(ABC):
    """Makes synthetic rows from public data and from what sites release."""

    asks_sites: ClassVar[bool]
    """Whether it calls ``poll``, or ``train`` instead, which costs the sites a share of epsilon."""

    trains: ClassVar[bool] = False
    """Whether it calls ``train``, once, and not ``poll``."""

    def __init__(self, settings: SynthesisSettings, data: DataSettings) -> None:
        """Know the keys; reads nothing yet."""
        self.settings = settings
        self.data = data

    @abstractmethod
    def generate(self, tools: Tools) -> Generated:
        """The rows; a function of public data, of public seeds and of what the sites release alone.

        Raises:
            DataError: the public data cannot be used; raised before any site is asked.
            BackboneError: the backbone cannot write, where it has to; likewise.
        """


def find(name: str) -> type[Generator]:
    """The generator in the module of that name (``"a-b"`` is ``a_b.py``)."""
    module = importlib.import_module(f"fedpeft.synthesis.{name.replace('-', '_')}")
    kind: type[Generator] = module.Kind
    return kind


def added(histograms: list[tuple[npt.NDArray[np.float32], float]], num_bins: int) -> Tally:
    """The sum of histograms, each given with its noise multiplier; their noise is independent."""
    counts = np.zeros(num_bins)
    for values, _ in histograms:
        counts += values
    return Tally(counts, math.sqrt(math.fsum(multiplier**2 for _, multiplier in histograms)))
