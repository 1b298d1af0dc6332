# SPDX-License-Identifier: Apache-2.0
"""One organization: its data, its policy, its ledger, and the few things that may be asked of it.

Everything a request can do is checked before a private number is read, and paid for in the ledger before
one is computed. Nothing but ``SiteFacts``, private releases and refusal codes comes out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.embedding import DIMENSION, NAME
from fedpeft.data.split import votes_on_blocks
from fedpeft.delivery import Delivery
from fedpeft.errors import MechanismError, Refusal
from fedpeft.privacy.histogram import SELECTION, PrivateHistogram, VoteRequest, block_map
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.metric import EvaluateRequest, Payable, PrivateMetric
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.site.block_votes import block_points, num_blocks
from fedpeft.site.evaluation import HeldOut, check_evaluation, release_metric
from fedpeft.site.inbox import Inbox, check_delivery
from fedpeft.site.payload import from_bytes, histogram_from_bytes, metric_from_bytes, to_bytes
from fedpeft.site.rounds import charged_event, check_request
from fedpeft.site.voting import Texts, check_vote, in_blocks, release_vote, vote_blocks
from fedpeft.training.execution import Execution
from fedpeft.training.local import LocalPlan, Progress, Units, local_update
from fedpeft.types import (
    TRAINING,
    PrivateUpdate,
    RefusalCode,
    Schedule,
    SiteFacts,
    TrainRequest,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")
FloatMatrix = npt.NDArray[np.float64]


class Workbench(Protocol):
    """The frozen backbone and the adapter, one of each in a process, whatever the number of sites."""

    model: nn.Module
    adapter: Adapter
    execution: Execution
    lock: threading.Lock
    """Held by whoever has a vector loaded."""


class Site:
    """The trusted side of one organization, in this process."""

    def __init__(
        self,
        units: Units,
        policy: Policy,
        ledger: Ledger,
        workbench: Workbench,
        *,
        max_tokens: int,
        new_randomness: Callable[[str], Randomness],
        arithmetic: str = "grid",
        held_out: HeldOut | None = None,
        weights: UnitWeights | None = None,
        texts: Texts | None = None,
        vote_share: float = 1.0,
        pairs: Units | None = None,
        progress: Progress | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        """Bring together what the organization owns.

        Args:
            units: training examples by unit id; may be empty, and nobody outside can tell.
            policy: what the organization allows.
            ledger: opened under ``policy``.
            workbench: shared with the other sites of a simulation.
            max_tokens: padded tokens in a micro-batch.
            new_randomness: a fresh source for a request id.
            arithmetic: the organization's own choice; a file of ``privacy/arithmetic``.
            held_out: for private evaluations, if the site serves any.
            weights: of the tasks, and what each unit's is; default: all units alike.
            texts: of the training records, for votes on bins, if the site serves any.
            vote_share: of the training units that vote on blocks; which ones, a hash of each says.
            pairs: the same units as a generator of synthetic data learns them, if the site trains any.
            progress: the site's own terminal.
            inbox: where deliveries are kept, if the site takes any.
        """
        self.policy = policy
        self.ledger = ledger
        self._units = units
        self._workbench = workbench
        self._max_tokens = max_tokens
        self._new_randomness = new_randomness
        self._arithmetic = arithmetic
        self._held_out = held_out
        self._weights = weights or UnitWeights()
        self._texts = texts
        self._vote_share = vote_share
        self._pairs = pairs
        self._progress = progress
        self._inbox = inbox

    def facts(self) -> SiteFacts:
        """Constants of the policy, what the next run may take of it, and the ledger's head."""
        policy, left = self.policy, self.ledger.available()
        return SiteFacts(
            name=policy.identity,
            declared_units=policy.declared_units,
            unit=policy.unit,
            epsilon=left.epsilon,
            delta=left.delta,
            ledger_head=self.ledger.head,
            crash_reserve=policy.crash_reserve,
        )

    def commit(self, schedule: Schedule) -> None:
        """Record a whole run before its first step.

        Raises:
            Refusal: policy or budget forbids it, or for more than training the weights of tasks; nothing was
                charged.
        """
        for stage in schedule.stages:
            self._check_unweighted(stage)
        self.ledger.commit(schedule)

    def train(self, request: TrainRequest) -> PrivateUpdate:
        """Answer one round's request; the same request again gets the same answer again.

        Raises:
            Refusal: a field is out of range, the policy or the ledger forbids it, or a generator shall be
                trained, and tasks have weights here or the site trains none.
        """
        self._check_stage(request.stage)
        self._check_unweighted(request.stage)
        check_request(request, self._workbench.adapter)
        if request.task_weights != self._weights.by_task:
            raise Refusal(RefusalCode.POLICY, "task_weights: are not those that this site was set up with")
        units = self._units if request.stage == TRAINING else self._pairs
        if units is None:
            raise Refusal(RefusalCode.POLICY, f"{request.stage}: this site trains no generator")
        return self._paid(request, from_bytes, lambda: self._release(request, units))

    def evaluate(self, request: EvaluateRequest) -> PrivateMetric:
        """Answer a private evaluation; the same request again gets the same answer again.

        Raises:
            Refusal: a field is out of range, the policy or the ledger forbids it, nothing is held out, or
                tasks have weights here.
        """
        self._check_stage(request.stage)
        self._check_unweighted(request.stage)
        check_evaluation(request, self._workbench.adapter)
        held_out = self._held_out
        if held_out is None:
            raise Refusal(RefusalCode.POLICY, "evaluation: this site holds nothing out")
        return self._paid(request, metric_from_bytes, lambda: self._count(request, held_out))

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        """Answer a vote; the same request again gets the same answer again.

        Raises:
            Refusal: a field is out of range, the policy or the ledger forbids it, or tasks have weights here.
        """
        self._check_stage(request.stage)
        self._check_unweighted(request.stage)
        adapter = self._workbench.adapter
        check_vote(request, {NAME: DIMENSION, block_map(adapter.digest): num_blocks(adapter.layout)})
        if request.stage == SELECTION:
            return self._paid(request, histogram_from_bytes, lambda: self._block_histogram(request))
        texts = self._texts
        if texts is None:
            raise Refusal(RefusalCode.POLICY, "synthesis: this site does not vote")
        votes = vote_blocks(texts, request.bins.astype(np.float64), request.neighbours)
        return self._paid(request, histogram_from_bytes, lambda: self._histogram(request, votes))

    def deliver(self, delivery: Delivery) -> None:
        """Keep what a run of this site ended with; the same again changes nothing.

        Raises:
            Refusal: a field is out of range, the ledger knows no such run, or there is no room for it.
        """
        check_delivery(delivery, self._workbench.adapter)
        if self._inbox is None or not self.ledger.has_run(delivery.run_id):
            raise Refusal(RefusalCode.POLICY, "delivery: of no run that this site has committed to")
        with self._workbench.lock:
            self._workbench.adapter.load(delivery.adapter)
            self._inbox.keep(delivery, self._workbench.adapter)

    def _paid(self, request: Payable, read: Callable[[bytes], T], release: Callable[[], T]) -> T:
        """Charge a request, then release what it asks for; or read what was kept of it before."""
        stored = self.ledger.charge(request)
        if stored is not None:
            return read(stored)
        try:
            return release()
        finally:  # whatever went wrong, the charge stands and the next request may come
            self.ledger.abandon(request.request_id)

    def _count(self, request: EvaluateRequest, held_out: HeldOut) -> PrivateMetric:
        with self._workbench.lock:
            self._workbench.adapter.load(request.adapter)
            return release_metric(
                request,
                held_out,
                ledger=self.ledger,
                unit=self.policy.unit,
                arithmetic=self._arithmetic,
                randomness=self._new_randomness(request.request_id),
            )

    def _block_histogram(self, request: VoteRequest) -> PrivateHistogram:
        bench = self._workbench
        units = {unit: own for unit, own in self._units.items() if votes_on_blocks(unit, self._vote_share)}
        with bench.lock:
            points = block_points(bench.model, bench.adapter, units, self._max_tokens, bench.execution)
            votes = in_blocks(points, request.bins.astype(np.float64), request.neighbours)
            return self._histogram(request, votes)

    def _histogram(self, request: VoteRequest, votes: Iterable[FloatMatrix]) -> PrivateHistogram:
        return release_vote(
            request,
            votes,
            ledger=self.ledger,
            unit=self.policy.unit,
            arithmetic=self._arithmetic,
            randomness=self._new_randomness(request.request_id),
        )

    def _release(self, request: TrainRequest, units: Units) -> PrivateUpdate:
        """Compute what was charged, and store it before it leaves."""
        head, how = self.ledger.head, self._workbench.execution
        with self._workbench.lock:
            released = local_update(
                self._workbench.model,
                self._workbench.adapter,
                units,
                request.adapter,
                self._local_plan(request),
                self._new_randomness(request.request_id),
                self._progress,
                how if request.stage == TRAINING else how.over_all_tokens(),
                self._weights,
            )
        if released.event != charged_event(request, self.policy.unit):
            raise MechanismError("the mechanism's event is not the one that was charged; nothing is released")
        update = PrivateUpdate(request.request_id, released.value, released.event, head)
        self.ledger.store(request.request_id, to_bytes(update))
        if not units:
            _log.warning("site %s: no training units; the release was noise alone", self.policy.identity)
        return update

    def _check_stage(self, stage: str) -> None:
        if stage not in self.policy.stages:
            raise Refusal(RefusalCode.POLICY, f"stages: {stage} is not among them")

    def _check_unweighted(self, stage: str) -> None:
        """What is not training is not counted in a task's smaller epsilon, which would not be true of it."""
        if stage != TRAINING and self._weights.by_task:
            raise Refusal(
                RefusalCode.POLICY, f"{stage}: cannot go together with this site's weights of tasks"
            )

    def _local_plan(self, request: TrainRequest) -> LocalPlan:
        return LocalPlan(
            local_steps=request.local_steps,
            learning_rate=request.learning_rate,
            noise_multiplier=request.noise_multiplier,
            sampling_rate=request.sampling_rate,
            scales=request.scales,
            clipping=request.clipping,
            expected_batch=request.sampling_rate * self.policy.declared_units,
            unit=self.policy.unit,
            max_tokens=self._max_tokens,
            arithmetic=self._arithmetic,
            rank=request.rank,
        )
