# SPDX-License-Identifier: Apache-2.0
"""What the coordinator of a duel asks: most of it fits a run, the rest has one field that does not."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.embedding import DIMENSION, NAME, embed_all
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.types import FILTER_RUN, Schedule, TrainRequest

T = TypeVar("T")

RATE = 0.5
_PARTS = (((2.0, 4),), ((3.0, 2), (6.0, 3)), ((1.0, 2),), ((0.3, 50),), ((4.0, 0),), ())
_VOTES = (
    (),
    (("synthesis", 6.0, 1), ("evaluation", 6.0, 2)),
    (("evaluation", 0.1, 5),),
    (("synthesis", 0.0, 1),),
    (("synthesis", 6.0, -1),),
    (("selection", 6.0, 1),),
    (("synthesis", math.nan, 1),),
)
_RUNS = ("one", "two")
_BINS = embed_all(("the weather is fine", "boil two eggs", "sort a list")).astype(np.float32)


class Requests:
    """Draws them.

    Attributes:
        heads: of a ledger, as they were seen; the last is the newest.
    """

    def __init__(self, draw: random.Random, adapter: Adapter) -> None:
        """Draw from ``draw``, for one adapter."""
        self.heads = [""]
        self._draw, self._adapter = draw, adapter

    def schedule(self) -> Schedule:
        """A run to commit to."""
        pick = self._draw.choice
        good = Schedule(
            pick(_RUNS), pick(_PARTS[:2]), RATE, "record", pick(("training", "synthesis+training")),
            pick(_VOTES[:2] + _VOTES[1:2]),
        )  # fmt: skip
        bad = {
            "run_id": (FILTER_RUN, "", "x" * 300),
            "parts": _PARTS[2:],
            "sampling_rate": (0.0, 2.0, 1.0, math.nan),
            "unit": ("patient", ""),
            "stage": ("selection", ""),
            "votes": _VOTES[2:],
        }
        return self._spoiled(good, bad)

    def train(self) -> TrainRequest:
        """A round."""
        pick, adapter = self._draw.choice, self._adapter
        segments = len(adapter.layout.segments)
        run = pick((*_RUNS, *_RUNS, FILTER_RUN))
        good = dataclasses.replace(
            self.plain(f"{run}:{self._draw.randrange(12)}"),
            run_id=run,
            noise_multiplier=pick((2.0, 3.0, 6.0)),
            stage=pick(("training", "training", "synthesis")),
            ledger_head=self._head(),
        )
        bad = self._bad_in_all() | {
            "round_number": (0, -1),
            "local_steps": (2, 0, 10**6),
            "learning_rate": (2.0, math.nan),
            "sampling_rate": (1.0, -1.0, 0.25),
            "scales": ((2.0,) * segments, (0.0,) * segments, (1.0,)),
            "clipping": ("flat", "none"),
            "stage": ("evaluation", "selection", ""),
            "rank": (1, -1, 10**6),
            "layout_digest": ("other",),
            "adapter": (adapter.zeros() + 0.1, np.zeros(2, np.float32), adapter.zeros() * math.nan),
        }
        return self._spoiled(good, bad)

    def vote(self) -> VoteRequest:
        """A vote; some of its ids are those of rounds."""
        name = f"{self._draw.choice(_RUNS)}:{self._draw.choice(('v0', 'v1', '1'))}"
        good = VoteRequest(self._run(), name, 6.0, NAME, 1, _BINS, self._head())
        bad = self._bad_in_all() | {
            "embedding": ("other", ""),
            "neighbours": (2, 0, -1, 10**6),
            "bins": (_BINS[:2], _BINS * math.nan, np.zeros((0, DIMENSION), np.float32), _BINS[:, :5]),
        }
        return self._spoiled(good, bad)

    def evaluate(self) -> EvaluateRequest:
        """A private evaluation; some of its ids are those of rounds and votes."""
        adapter = self._adapter
        name = f"{self._draw.choice(_RUNS)}:{self._draw.choice(('m0', 'm1', 'm2', 'v0', '1'))}"
        good = EvaluateRequest(self._run(), name, 6.0, adapter.digest, adapter.zeros(), self._head())
        bad = self._bad_in_all() | {
            "layout_digest": ("other",),
            "adapter": (adapter.zeros() + 0.1, np.zeros(2, np.float32), adapter.zeros() * math.nan),
        }
        return self._spoiled(good, bad)

    def plain(self, request_id: str, ledger_head: str = "") -> TrainRequest:
        """A round of run "one" that fits its first kind of schedule."""
        adapter = self._adapter
        return TrainRequest(
            "one", request_id, 1, 1, 1.0, 2.0, RATE, (1.0,) * len(adapter.layout.segments), "automatic",
            adapter.digest, adapter.zeros(), ledger_head,
        )  # fmt: skip

    def _bad_in_all(self) -> dict[str, tuple[Any, ...]]:
        return {
            "run_id": ("", "absent", FILTER_RUN),
            "request_id": ("", "a\x00b"),
            "noise_multiplier": (1.0, 0.5, 0.01, 0.0, -1.0, math.nan, math.inf, 4.0),
            "ledger_head": (self._draw.choice(self.heads), "0" * 64),
            "protocol": (2, 0),
        }

    def _run(self) -> str:
        return self._draw.choice(_RUNS)

    def _head(self) -> str:
        return self._draw.choice(("", self.heads[-1]))

    def _spoiled(self, good: T, bad: dict[str, Sequence[Any]] | dict[str, tuple[Any, ...]]) -> T:
        """As it is, or with one field that is wrong or at least another."""
        if self._draw.random() < 0.6:
            return good
        field = self._draw.choice(sorted(bad))
        return dataclasses.replace(good, **{field: self._draw.choice(bad[field])})  # type: ignore[type-var]
