# SPDX-License-Identifier: Apache-2.0
"""The nouns that flow between the parts, and the one interface sites are known by.

Shapes: ``d`` is the number of trained parameters, ``S`` of their segments, ``D`` the length of the flat
vector that rounds begin with: ``d``, and more only where an aggregation rule has sites carry something.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from fedpeft.layout import Layout as Layout
from fedpeft.layout import Part as Part
from fedpeft.layout import Segment as Segment

PROTOCOL_VERSION = 1
"""Of the messages between coordinator and site; a site refuses any other."""

SEEDED_PREFIX = "seeded-"
"""Of the id of a run whose noise comes from a seed and guarantees nothing."""

FILTER_RUN = "filter"
"""The ``run_id`` of requests that belong to no run: a site's Renyi filter pays for them, if it has one."""

TRAINING = "training"
"""The stage that no run is without."""

FloatVector = npt.NDArray[np.float32]

TaskWeights = tuple[tuple[str, float], ...]
"""``(task, weight)``, sorted, where units of different tasks are clipped to different norms; else empty."""


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """What one or several identical private releases cost, as the mechanism that made them reports it.

    Attributes:
        kind: ``"poisson-gaussian"`` (Poisson-sampled units, L2 sensitivity 1, adding or removing one) or
            ``"gaussian"`` (every unit, ``sampling_rate`` 1).
        noise_multiplier: standard deviation of the noise over the L2 sensitivity.
        sampling_rate: probability with which each unit enters a step.
        steps: how many such steps.
        unit: what one unit is: ``"record"`` or the name of a column.
    """

    kind: str
    noise_multiplier: float
    sampling_rate: float
    steps: int
    unit: str


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """Public facts of a site: constants of its policy, and what earlier requests have left of it.

    Attributes:
        epsilon: the most that the next run may take; zero when nothing is left.
        delta: likewise.
        ledger_head: hash of the newest ledger row, which the coordinator echoes.
        crash_reserve: rounds of a run that the site keeps for charges which a crash makes uncertain; a run
            that plans fewer would end so many rounds early.
    """

    name: str
    declared_units: int
    unit: str
    epsilon: float
    delta: float
    ledger_head: str
    protocol: int = PROTOCOL_VERSION
    crash_reserve: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A run as a site commits to it, whole, before its first step.

    Attributes:
        parts: ``(noise_multiplier, steps)`` of one stretch of steps after another. A reserve for crashes is
            steps that the plan does not need, at the smallest multiplier: they can pay for any other.
        sampling_rate: of every step.
        stage: what the steps are for, or several such joined with ``+``; the policy lists those it allows.
        votes: ``(stage, noise_multiplier, releases)`` of releases about every unit, beside the steps.
    """

    run_id: str
    parts: tuple[tuple[float, int], ...]
    sampling_rate: float
    unit: str
    stage: str = TRAINING
    votes: tuple[tuple[str, float, int], ...] = ()

    @classmethod
    def constant(
        cls, run_id: str, noise_multiplier: float, sampling_rate: float, steps: int, unit: str
    ) -> Schedule:
        """All steps with one multiplier."""
        return cls(run_id, ((noise_multiplier, steps),), sampling_rate, unit)

    @property
    def stages(self) -> tuple[str, ...]:
        """All that it is for, in the order in which they come."""
        return tuple(dict.fromkeys([*(stage for stage, _, _ in self.votes), *self.stage.split("+")]))

    @property
    def steps(self) -> int:
        """Private steps over all rounds, a reserve for crashes included; votes are none."""
        return sum(steps for _, steps in self.parts)

    def with_reserve(self, steps: int) -> Schedule:
        """With so many more steps that the plan does not need, at the smallest multiplier."""
        smallest = min(multiplier for multiplier, _ in self.parts)
        last, number = self.parts[-1]
        if last == smallest:
            return replace(self, parts=(*self.parts[:-1], (last, number + steps)))
        return replace(self, parts=(*self.parts, (smallest, steps))) if steps else self

    def noise_multiplier_at(self, step: int) -> float:
        """The multiplier of a step.

        Args:
            step: counts from 0.

        Raises:
            IndexError: the schedule is shorter.
        """
        for noise_multiplier, steps in self.parts:
            if step < steps:
                return noise_multiplier
            step -= steps
        raise IndexError(f"step {step + self.steps}: the schedule has {self.steps}")


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One round asked of one site.

    Attributes:
        request_id: the same when the request is repeated; bound to the hash of its whole content.
        round_number: counts from 1.
        local_steps: private steps from ``adapter``; what leaves is the difference they made.
        learning_rate: of the site's plain SGD on released gradients.
        scales: ``(S,)`` the scale b_s of each segment, in [2^-40, 2^40].
        clipping: ``"automatic"``, ``"flat"`` or ``"quantile"``.
        layout_digest: ``Adapter.digest`` of the adapter both sides must have built.
        adapter: ``(D,)`` float32, the state to start from.
        ledger_head: the newest head of this site's ledger that the coordinator has seen.
        rank: of the part of the adapter that the site trains and releases; 0: all of it.
        task_weights: those that the site must have been set up with.
        stage: what the round is for: ``"training"``, or ``"synthesis"`` for one that trains a generator.
        wire_type: how request and answer travel to the courier and back, which is none of the site's concern.
    """

    run_id: str
    request_id: str
    round_number: int
    local_steps: int
    learning_rate: float
    noise_multiplier: float
    sampling_rate: float
    scales: tuple[float, ...]
    clipping: str
    layout_digest: str
    adapter: FloatVector
    ledger_head: str
    protocol: int = PROTOCOL_VERSION
    task_weights: TaskWeights = ()
    stage: str = TRAINING
    wire_type: str = "float32"
    rank: int = 0

    kind: ClassVar[str] = "poisson-gaussian"

    def digest(self) -> str:
        """Hash of the whole content but the way it travels and the head, which honest repetitions change."""
        parts = (
            self.run_id, self.request_id, self.round_number, self.local_steps, self.learning_rate,
            self.noise_multiplier, self.sampling_rate, self.scales, self.clipping, self.layout_digest,
            self.protocol, self.task_weights, self.stage, *([self.rank] if self.rank else []),
        )  # fmt: skip
        digest = hashlib.sha256(repr(parts).encode())
        digest.update(np.ascontiguousarray(self.adapter, dtype="<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class PrivateUpdate:
    """What leaves a site after a round: a noised difference of adapter vectors and what it cost.

    Made by ``fedpeft.site`` from what the mechanism released; the only training result with a serializer.

    Attributes:
        values: ``(d,)`` float32, or as many as the asked rank has; one more under the clipping
            ``"quantile"``, the noised mean vote.
        event: the steps behind it, with the multiplier the mechanism really used.
        ledger_head: of the site's ledger, which already holds the event.
    """

    request_id: str
    values: FloatVector
    event: PrivacyEvent
    ledger_head: str


class RefusalCode(enum.StrEnum):
    """Why a site does not serve a request; a function of the request, the policy and the ledger only."""

    BUDGET = "budget"  # the privacy budget would be exceeded
    POLICY = "policy"  # the organization's policy does not allow it
    EXPIRED = "expired"  # the policy's date has passed
    PROTOCOL = "protocol"  # another protocol version
    MALFORMED = "malformed"  # a field is out of its range or of the wrong shape
    REPLAY = "replay"  # the request id is known with another content
    ROLLBACK = "rollback"  # the ledger is older than the head that was echoed
    UNAVAILABLE = "unavailable"  # anything else; the reason is in the site's own log


Answer = PrivateUpdate | RefusalCode


class Transport(Protocol):
    """How the round loop reaches sites. A site missing from an answer did not reply in time."""

    def describe(self, num_sites: int, deadline_s: float) -> Mapping[str, SiteFacts]:
        """Wait until ``num_sites`` sites are connected or the deadline passes; ask each for its facts."""
        ...

    def commit(
        self, schedules: Mapping[str, Schedule], deadline_s: float
    ) -> Mapping[str, RefusalCode | None]:
        """Ask each site to commit the whole run; ``None`` is consent."""
        ...

    def train(self, requests: Mapping[str, TrainRequest], deadline_s: float) -> Iterable[tuple[str, Answer]]:
        """One round: answers in the order of the requests, so that sums are reproducible.

        They come one by one, so that a round need not hold a vector for every site.
        """
        ...


JsonDict = dict[str, Any]
