# SPDX-License-Identifier: Apache-2.0
"""How the blocks to train are chosen before the first round; a selector is one file.

A file of this folder with one final class ``Rule`` that derives from ``Selector`` is an option of
``selection.selector`` (``a_b.py`` is ``"a-b"``). What it is given holds no site and no private record; what
sites release for it they were charged for.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from fedpeft.errors import ConfigError
from fedpeft.selection.candidates import Candidate
from fedpeft.selection.trials import Outcome, Trials
from fedpeft.stage_settings import SelectionSettings
from fedpeft.synthesis.base import Tally
from fedpeft.types import JsonDict

BlockPoll = Callable[[int], Tally]
"""Has every site vote on all blocks, once; each record for so many of them."""

Progress = Callable[[str, int, int], None]
"""Hears of what is done, how many of it, out of how many."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a selector may look at: public, synthetic under a certificate of its own, or released.

    Attributes:
        blocks: to choose from, ascending: those that have a part of the adapter.
        settings: of ``[selection]``.
        trials: train and score sets of blocks on the public or synthetic rows; ``None`` without rows.
        progress: hears of trials.
        rounds: of the run.
        poll: asks the sites, where there are any.
    """

    blocks: tuple[int, ...]
    settings: SelectionSettings
    trials: Trials | None = None
    progress: Progress | None = None
    rounds: int = 1
    poll: BlockPoll | None = None

    def size(self) -> int:
        """The number of blocks that was asked for, by itself a quarter of them.

        Raises:
            ConfigError: more than there are.
        """
        size = self.settings.size
        if size == "auto":
            return max(1, len(self.blocks) // 4)
        check_size(size, len(self.blocks))
        return size


def check_size(size: int, num_blocks: int) -> None:
    """Refuse more blocks than there are to choose from.

    Raises:
        ConfigError: as said.
    """
    if size > num_blocks:
        raise ConfigError(
            f"selection.size = {size}: must be at most {num_blocks}, the number of blocks that "
            "adapter.layers names; lower it, or name more"
        )


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with what its last trial found, and how much that trial trained."""

    candidate: Candidate
    outcome: Outcome
    steps: int

    def to_json(self) -> JsonDict:
        """The figures for machines; a loss that is not finite is ``None``."""
        mean, error = self.outcome.mean, self.outcome.standard_error
        return {
            "kind": self.candidate.kind,
            "layers": list(self.candidate.layers),
            "trainable": self.outcome.trainable,
            "steps": self.steps,
            "losses": [_finite(loss) for loss in self.outcome.losses],
            "mean": _finite(mean),
            "standard_error": _finite(error),
            "low": _finite(mean - error),
            "high": _finite(mean + error),
            "score": _finite(self.outcome.score),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen.

    Attributes:
        layers: the blocks to train, ascending.
        why: in one sentence.
        candidates: those that were tried, best first among those that went furthest.
        rounds: of each round, the blocks that it trains; empty where all rounds train all of ``layers``.
    """

    layers: tuple[int, ...]
    why: str
    candidates: tuple[Scored, ...] = ()
    rounds: tuple[tuple[int, ...], ...] = ()


class Selector(ABC):
    """Chooses blocks. Deterministic, and without state of its own."""

    needs_rows: ClassVar[bool] = False
    """Whether it tries sets of blocks on public or synthetic rows."""

    asks_sites: ClassVar[bool] = False
    """Whether it calls ``poll``, which costs the sites a share of epsilon."""

    @abstractmethod
    def choose(self, inputs: Inputs) -> Selection:
        """The blocks to train.

        Raises:
            UserError: there are no such blocks, or the rows are too few.
        """


def find(name: str) -> Selector:
    """The selector in the module of that name."""
    module = importlib.import_module(f"fedpeft.selection.{name.replace('-', '_')}")
    selector: Selector = module.Rule()
    return selector


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # NaN fails this too
