# SPDX-License-Identifier: Apache-2.0
"""What came back in one round: who answered, who refused, what could not be used, and the aggregate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.privacy.allocation.history import Observation
from fedpeft.privacy.clipping import FROZEN_SCALE, KEPT, released_size
from fedpeft.types import (
    Answer,
    JsonDict,
    Layout,
    Part,
    PrivacyEvent,
    PrivateUpdate,
    RefusalCode,
    TrainRequest,
)
from fedpeft.wire_types import wire_bytes

_UNAVAILABLE = RefusalCode.UNAVAILABLE.value


@dataclass(frozen=True, slots=True)
class Ask:
    """What one site was asked in a round.

    Attributes:
        unit: of the schedule that the site committed.
        weight: its public weight in the aggregate: sampling rate times declared units.
        part: what it trains of the adapter.
    """

    request: TrainRequest
    unit: str
    weight: float
    part: Part


def find_problem(ask: Ask, update: PrivateUpdate) -> str | None:
    """Why a release cannot be used, or ``None``.

    Args:
        ask: what was asked.
        update: what came back: fields of the right types, with any content.
    """
    request = ask.request
    if update.request_id != request.request_id:
        return "another request"
    if update.event != PrivacyEvent(
        "poisson-gaussian", request.noise_multiplier, request.sampling_rate, request.local_steps, ask.unit
    ):
        return "another event than asked"
    if update.values.shape != (released_size(ask.part.size, request.clipping),):
        return "another length"
    values = update.values[: ask.part.size].astype(np.float64)
    if not np.isfinite(update.values).all():
        return "not finite"
    if math.sqrt(float(values @ values)) > largest_norm(ask):
        return "too large"
    return None


def largest_norm(ask: Ask) -> float:
    """The L2 norm that an honest update stays below, but for a chance of less than 1e-13 a step.

    A step adds up clipped units, each of norm at most 1 in scaled coordinates, and Gaussian noise: no more
    units than four times those expected and ten standard deviations, for a site that has more than it
    declared, and noise of norm at most multiplier * (sqrt(d) + 8) (Laurent and Massart 2000, Lemma 1). What
    goes beyond was not made by the mechanism, and one such answer would outweigh everybody else's.
    """
    request = ask.request
    scale = max((scale for scale in request.scales if scale < FROZEN_SCALE), default=0.0)
    units = 4 * ask.weight + 10 * math.sqrt(ask.weight) + 10
    noise = request.noise_multiplier * (math.sqrt(ask.part.size) + 8)
    return request.learning_rate * request.local_steps * scale * (units + noise) / (KEPT * ask.weight)


@final
@dataclass(slots=True)
class Tally:
    """The answers of one round, sorted as they come. An unusable release counts as no answer.

    Attributes:
        answered: sites whose release is in the aggregate.
        refused: sites that refused, and the code.
        dropped: sites whose release could not be used, and why.
        events: what the releases cost, those that were dropped included: their site has paid for them.
        ledger_heads: newest head of each site that answered.
        votes: where units vote on the clip level, each site's mean vote times its weight.
    """

    asks: Mapping[str, Ask]
    aggregator: Aggregator
    answered: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    events: dict[str, PrivacyEvent] = field(default_factory=dict)
    ledger_heads: dict[str, str] = field(default_factory=dict)
    votes: list[float] = field(default_factory=list)
    bytes_up: int = 0

    def take(self, site: str, answer: Answer) -> None:
        """Sort one answer. Only the first of a site that was asked counts."""
        if site not in self.missing:
            return
        if isinstance(answer, RefusalCode):
            self.refused[site] = answer.value
            return
        ask = self.asks[site]
        self.bytes_up += wire_bytes(answer.values.size, ask.request.wire_type)
        self.events[site] = answer.event
        problem = find_problem(ask, answer)
        if problem is not None:
            self.dropped[site] = problem
            return
        size = ask.part.size
        self.aggregator.add(ask.part.lift(answer.values[:size]), ask.weight)
        self.votes.extend(ask.weight * float(vote) for vote in answer.values[size:])
        self.ledger_heads[site] = answer.ledger_head
        self.answered.append(site)

    @property
    def missing(self) -> list[str]:
        """Sites without an answer so far."""
        seen = {*self.answered, *self.refused, *self.dropped}
        return [site for site in self.asks if site not in seen]

    @property
    def unreached(self) -> list[str]:
        """Sites without an answer so far, and those that are there but could not serve."""
        return [site for site in self.asks if site in self.missing or self.refused.get(site) == _UNAVAILABLE]

    def welcome_back(self, sites: Iterable[str]) -> None:
        """What comes of these now counts as their first answer."""
        for site in sites:
            self.refused.pop(site, None)

    @property
    def problems(self) -> dict[str, str]:
        """Why each site that is not in the aggregate is not."""
        return {**self.refused, **self.dropped, **dict.fromkeys(self.missing, "no answer")}

    @property
    def noise_variance(self) -> float:
        """Of the noise in a coordinate that all train of the weighted mean update, at scale 1.

        Times b_s^2 in segment s. A site's update is its learning rate times the sum of its steps' noises,
        each of standard deviation multiplier / expected batch; the weights are the expected batches.
        """
        return math.fsum(map(self._noise_of, self.answered))

    def _noise_of(self, site: str) -> float:
        """What one site adds to it."""
        request, kept = self.asks[site].request, KEPT if self.votes else 1.0
        noise = (request.learning_rate * request.noise_multiplier) ** 2 * request.local_steps
        return noise / (kept * self._weight) ** 2

    @property
    def _weight(self) -> float:
        return math.fsum(self.asks[site].weight for site in self.answered)

    def noise(self, layout: Layout) -> DoubleVector:
        """``(d,)`` the variance of the noise in the weighted mean update."""
        scales = np.array(self.asks[self.answered[0]].request.scales)
        squares = np.where(scales < FROZEN_SCALE, scales, 0.0) ** 2
        spread = np.repeat(squares, [segment.size for segment in layout.segments])
        shares = self._noise_shares()
        return spread * self.noise_variance * (1.0 if shares is None else shares)

    def _noise_shares(self) -> DoubleVector | None:
        """``(d,)`` of ``noise_variance``, what each coordinate has of it; ``None`` where all train all."""
        parts = [(self._noise_of(site), self.asks[site].part) for site in self.answered]
        if not any(part.rank for _, part in parts):
            return None
        noise = np.zeros(parts[0][1].whole.size)
        for own, part in parts:
            noise += own * part.lift(np.ones(part.size))
        return np.asarray(noise / self.noise_variance)

    def observation(self, mean: DoubleVector) -> Observation:
        """What the round released, as a mean gradient with its noise.

        Args:
            mean: ``(d,)`` the weighted mean of the updates that came.
        """
        request = self.asks[self.answered[0]].request  # in what matters here all are alike
        moved = request.learning_rate * request.local_steps
        shares, segments = self._noise_shares(), self.asks[self.answered[0]].part.whole.segments
        return Observation(
            gradient=mean / -moved,
            adapter=request.adapter[: mean.size],
            scales=request.scales,
            unit_noise=self.noise_variance / moved**2,
            unclipped=(1 + math.fsum(self.votes) / self._weight) / 2 if self.votes else None,
            noise_shares=None if shares is None else np.array([shares[s.slice].mean() for s in segments]),
        )

    def record(self, update_norm: float, train_seconds: float, aggregate_seconds: float) -> JsonDict:
        """The round's line of ``rounds.jsonl``, without its number.

        Args:
            update_norm: L2 norm of the aggregate.
            train_seconds: from the first request to the last answer.
            aggregate_seconds: from the last answer to the new adapter.
        """
        return {
            "answered": self.answered,
            "refused": self.refused,
            "dropped": self.dropped,
            "missing": self.missing,
            "update_norm": update_norm,
            "seconds": {"train": train_seconds, "aggregate": aggregate_seconds},
            "bytes_up": self.bytes_up,
            "bytes_down": sum(
                wire_bytes(ask.request.adapter.size, ask.request.wire_type) for ask in self.asks.values()
            ),
        }
