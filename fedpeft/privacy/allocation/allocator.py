# SPDX-License-Identifier: Apache-2.0
"""From round to round: what was learnt, which segments are given up, and the scales of the next round.

State goes in and comes out as plain arrays, which the checkpoint keeps together with the scales it led to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from fedpeft.errors import MechanismError
from fedpeft.privacy.allocation import uniform
from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, find
from fedpeft.privacy.allocation.history import DoubleVector, History, Observation, Statistics, learn, read
from fedpeft.privacy.allocation.public import PublicStatistics, start_from
from fedpeft.privacy.clipping import FROZEN_SCALE, is_scale
from fedpeft.settings import PrivacySettings
from fedpeft.types import Layout

WARM_UP: Final = 2
"""Rounds that a rule must have seen before it is asked; until then noise is uniform.

A rule that has public statistics to start from is asked at once.
"""

CLIP_NORMS: Final = (1e-9, 1e9)
"""What C stays within; scales then stay within what a site accepts."""

_CLIP_RATE: Final = 0.2

DROWNED: Final = 20.0
"""Noise over signal in the mean square of a coordinate, beyond which a round counts against a segment."""


@dataclass(frozen=True, slots=True)
class Allocator:
    """The allocation of every round of a run.

    Attributes:
        clip_norm: scale C of the whole vector; where units vote on it, of the first round.
        clip_quantile: share of the units that C shall leave unclipped where they vote.
        lambda2: of the rule ``kl``.
        drop_after: rounds in a row that noise must drown a segment before it is frozen for the rest of the
            run; 0 freezes none.
        public: what rules start from; without it the first rounds are uniform.
        turns: of each round, the blocks that it trains, by a public schedule; empty: all of them always.
    """

    rule: AllocationRule
    layout: Layout
    clip_norm: float
    lambda2: float = 0.0
    drop_after: int = 0
    clip_quantile: float = 0.5
    public: PublicStatistics | None = None
    turns: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(
        cls,
        privacy: PrivacySettings,
        layout: Layout,
        public: PublicStatistics | None = None,
        turns: tuple[tuple[int, ...], ...] = (),
    ) -> Self:
        """What ``[privacy]`` says on how noise is shared among the segments of ``layout``."""
        return cls(
            find(privacy.allocation),
            layout,
            privacy.clip_norm,
            lambda2=privacy.lambda2,
            drop_after=privacy.drop_after,
            clip_quantile=privacy.clip_quantile,
            public=public,
            turns=turns,
        )

    def observe(self, statistics: Statistics, seen: Observation) -> Statistics:
        """The state after a round; pure."""
        new = dict(statistics)
        if self.rule.learns or self.drop_after:
            new |= learn(statistics, self.layout, seen)
        if self.drop_after:
            new |= self._frozen_after(new)
        if seen.unclipped is not None:
            new["clip_norm"] = self._clip_norm_after(statistics, seen.unclipped)
        return new

    def scales(self, statistics: Statistics, number: int = 0) -> tuple[float, ...]:
        """``(S,)`` b_s of the next round.

        Args:
            statistics: of the rounds before.
            number: of rounds that are complete.

        Raises:
            MechanismError: the rule made no allocation of these segments, or scales out of range.
        """
        num_segments = len(self.layout.segments)
        live = (statistics.get("frozen", np.zeros(num_segments)) == 0) & self._have_turn(number)
        sizes = np.array([float(segment.size) for segment in self.layout.segments])
        facts = Facts(sizes[live], float(self._clip_norm(statistics)[0]), self.lambda2)
        history = _only(read(statistics, num_segments), live)
        if self.public is not None:
            history = start_from(history, self.public, live.tolist())
        warm = history.rounds >= WARM_UP or self.public is not None
        rule = self.rule if warm else uniform.Rule()
        scales = self._check(rule.allocate(facts, history), int(live.sum())).scales
        return _spread(scales, live)

    def _have_turn(self, number: int) -> np.ndarray:
        """``(S,)`` which segments stand in a block that the round trains."""
        if not self.turns:
            return np.ones(len(self.layout.segments), dtype=bool)
        blocks = self.turns[
            min(number, len(self.turns) - 1)
        ]  # after the last round nothing is asked any more
        return np.array([segment.block in blocks for segment in self.layout.segments])

    def _clip_norm(self, statistics: Statistics) -> DoubleVector:
        return statistics.get("clip_norm", np.array([self.clip_norm]))

    def _clip_norm_after(self, statistics: Statistics, unclipped: float) -> DoubleVector:
        """C times exp(-0.2 (share that was unclipped - share that shall be)) (Andrew et al., section 2.1)."""
        surplus = min(max(unclipped, 0.0), 1.0) - self.clip_quantile
        return np.asarray(np.clip(self._clip_norm(statistics) * np.exp(-_CLIP_RATE * surplus), *CLIP_NORMS))

    def _check(self, allocation: Allocation, num_segments: int) -> Allocation:
        if len(allocation.shares) != num_segments or not all(map(is_scale, allocation.scales)):
            raise MechanismError(
                f"privacy.allocation: the rule gave {len(allocation.shares)} shares and clip levels for "
                f"{num_segments} segments, or scales outside [2^-40, 2^40]; choose another rule"
            )
        return allocation

    def _frozen_after(self, statistics: Statistics) -> dict[str, DoubleVector]:
        """Count drowned rounds; freeze what has enough of them, the worst first, never more than half."""
        num_segments = len(self.layout.segments)
        history = read(statistics, num_segments)
        drowned = history.noise > DROWNED * history.signal
        counts = np.where(drowned, statistics.get("drowned", np.zeros(num_segments)) + 1, 0.0)
        frozen = statistics.get("frozen", np.zeros(num_segments)).copy()
        candidates = np.flatnonzero((counts >= self.drop_after) & (frozen == 0) & (history.rounds > WARM_UP))
        worst_first = candidates[np.argsort(_signal_over_noise(history)[candidates], kind="stable")]
        room = num_segments // 2 - int(frozen.sum())
        frozen[worst_first[: max(room, 0)]] = 1.0
        return {"drowned": counts, "frozen": frozen}


def _signal_over_noise(history: History) -> DoubleVector:
    return history.signal / np.maximum(history.noise, np.finfo(np.float64).tiny)


def _only(history: History, live: np.ndarray) -> History:
    return History(
        history.rounds,
        history.variance[live],
        history.signal[live],
        history.importance[live],
        history.uncertainty[live],
        history.noise[live],
        history.unit_noise,
    )


def _spread(scales: tuple[float, ...], live: np.ndarray) -> tuple[float, ...]:
    remaining = iter(scales)
    return tuple(next(remaining) if is_live else FROZEN_SCALE for is_live in live.tolist())
