# SPDX-License-Identifier: Apache-2.0
"""THE round loop: describe, commit, then rounds of ask, check, aggregate, step, checkpoint.

Sites are known only through :class:`fedpeft.types.Transport`, so the same loop runs a simulation, a
deployment and a test. Nothing here is private: it sees releases and public facts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fedpeft.aggregation.asking import Patience, ask_sites, ask_to_commit
from fedpeft.aggregation.averaging import include
from fedpeft.aggregation.base import NewAggregator
from fedpeft.aggregation.server_optimizer import ServerOptimizer
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.aggregation.stepping import move
from fedpeft.aggregation.tally import Ask, Tally
from fedpeft.checkpoint import Checkpoint, save
from fedpeft.errors import RunDirectoryError
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.types import (
    TRAINING,
    JsonDict,
    Part,
    PrivacyEvent,
    RefusalCode,
    Schedule,
    SiteFacts,
    TaskWeights,
    TrainRequest,
    Transport,
)

CHECKPOINT_FOLDER = "checkpoint"
ROUNDS_FILE = "rounds.jsonl"

StopReason = Literal["completed", "budget", "quorum", "interrupted"]
Scheduler = Callable[[Mapping[str, SiteFacts]], Mapping[str, Schedule]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """What every round of a run has in common, all of it public.

    Attributes:
        learning_rates: of the sites' steps, one a round.
        allocator: makes the scales of every round.
        smoother: of the aggregate, before the server optimizer.
        num_sites: how many sites to wait for before the run begins, at most ``deadline_s``.
        min_sites: fewer sites, at the start or in a round, end the run with the model as it is.
        deadline_s: of a round, and of each exchange before the first.
        ask_again_s: between two askings of whom it did not reach, while sites are too few; 0: asks once.
        task_weights: of tasks' units, if clipped to different norms; ``wire_type``: in which vectors travel.
        spent: what a round's record says of all releases so far.
        stage, first: what the rounds are for; how many came before them, paid for by the same schedules.
        parts: what a site trains of the adapter; by default all.
    """

    local_steps: int
    learning_rates: tuple[float, ...]
    allocator: Allocator
    smoother: Smoother
    clipping: str
    layout_digest: str
    num_sites: int
    min_sites: int
    deadline_s: float
    ask_again_s: float = 0.0
    task_weights: TaskWeights = ()
    wire_type: str = "float32"
    spent: Callable[[Mapping[str, tuple[PrivacyEvent, ...]]], JsonDict] | None = None
    stage: str = TRAINING
    first: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many."""
        return len(self.learning_rates)

    def part(self, site: str) -> Part:
        """What a site trains."""
        return self.parts.get(site) or Part.everything(self.smoother.layout)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: after the last complete round.
        detail: one line on why it stopped, for people.
        events: the coordinator's own view of what each site spent: one event a release received, those of
            a round that did not complete included.
        left_out: sites that did not take part at all, and why.
    """

    state: Checkpoint
    stopped_because: StopReason
    detail: str
    events: dict[str, tuple[PrivacyEvent, ...]]
    left_out: dict[str, str]


def run_rounds(
    transport: Transport,
    plan: RoundPlan,
    start: Checkpoint,
    *,
    schedule: Scheduler,
    new_aggregator: NewAggregator,
    optimizer: ServerOptimizer,
    folder: Path,
    on_round: Callable[[Checkpoint], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Run what is left of a run, from its beginning or from a checkpoint.

    Going on from a checkpoint sends the requests that an uninterrupted run would have sent, byte for byte
    but for the echoed ledger head, so that a site which has already paid for one sends its release again.

    Args:
        transport: reaches the sites.
        plan: of the rounds.
        start: ``Checkpoint.fresh(...)`` or one that was loaded.
        schedule: what each site shall commit, from the facts of those that are there; sites it omits do
            not take part. Called once in the life of a run, before anything is spent.
        new_aggregator: makes the rule of one round from the adapter at its start.
        optimizer: of the server.
        folder: the run directory; gets ``checkpoint/`` and ``rounds.jsonl``.
        on_round: called after every round that is complete and durable.
        clock: seconds.
        sleep: waits.

    Raises:
        FedpeftError: the first round moved no weight, or a round made one that is not finite.
        RunDirectoryError: the folder cannot be written.
    """
    run = _Run(transport, plan, start, schedule, new_aggregator, optimizer, folder, on_round, clock, sleep)
    try:
        because = run.gather() or run.commit() or run.rounds()
    except KeyboardInterrupt:
        because = "interrupted"
        run.detail = (
            f"interrupted after {run.state.rounds_completed} complete rounds; resume goes on from there"
        )
    return Outcome(run.state, because, run.detail, run.composed_events(), run.left_out)


@dataclass(slots=True)
class _Run:
    transport: Transport
    plan: RoundPlan
    state: Checkpoint
    schedule: Scheduler
    new_aggregator: NewAggregator
    optimizer: ServerOptimizer
    folder: Path
    on_round: Callable[[Checkpoint], None] | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    facts: Mapping[str, SiteFacts] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, PrivacyEvent] = field(default_factory=dict)
    detail: str = ""

    def gather(self) -> StopReason | None:
        """Learn who is there; stop before anything is spent if they are too few."""
        self.facts = self.transport.describe(self.plan.num_sites, self.plan.deadline_s)
        if len(self.facts) < self.plan.min_sites:
            return self._stop("connected", len(self.facts), {})
        return None

    def commit(self) -> StopReason | None:
        """Fix the schedules, make them durable here, then have every site commit its own."""
        if not self.state.schedules:  # a stage before the rounds may have asked already
            self.state = replace(self.state, schedules=dict(self.schedule(self.facts)))
        if not self.state.scales:
            self.state = replace(self.state, scales=self.plan.allocator.scales(self.state.statistics))
        save(self.state, self.folder / CHECKPOINT_FOLDER)
        self._write_records("w", self.state.records)
        schedules = self.state.schedules
        asked = {site: schedules[site] for site in sorted(schedules) if site in self.facts}
        replies = ask_to_commit(self.transport, asked, self._patience(self.clock()))
        self.members = [site for site in asked if site in replies and replies[site] is None]
        refused = {site: code.value for site, code in replies.items() if code is not None}
        self.left_out = {
            **dict.fromkeys(set(schedules) - set(asked), "not connected"),
            **dict.fromkeys(set(self.facts) - set(asked), "not scheduled"),
            **dict.fromkeys(set(asked) - set(replies), "no answer"),
            **refused,
        }
        if len(self.members) < self.plan.min_sites:
            return self._stop("committed the run", len(self.members), self.left_out)
        return None

    def rounds(self) -> StopReason:
        """Every round that is left."""
        while self.state.rounds_completed < self.plan.rounds:
            if (because := self._round(self.state.rounds_completed + 1)) is not None:
                return because
        self.detail = f"all {self.plan.rounds} rounds are complete"
        return "completed"

    def composed_events(self) -> dict[str, tuple[PrivacyEvent, ...]]:
        """Of the complete rounds and of one that was left unfinished."""
        return self.state.events_with(self.unfinished)

    def _round(self, number: int) -> StopReason | None:
        """Ask, check, aggregate, step, checkpoint."""
        asks = {site: self._ask(site, number) for site in self.members}
        tally = Tally(asks, self.new_aggregator(self.state.adapter))
        self.unfinished, times = tally.events, [self.clock()]
        ask_sites(self.transport, tally, self._patience(times[0]))
        times.append(self.clock())
        if len(tally.answered) < self.plan.min_sites:
            return self._stop(f"answered round {number}", len(tally.answered), tally.problems)
        state, aggregator, smoother = self.state, tally.aggregator, self.plan.smoother
        noise, memory = tally.noise(smoother.layout), state.optimizer
        moved = move(number, state.adapter, aggregator, noise, smoother, self.optimizer, memory)
        statistics = self.plan.allocator.observe(state.statistics, tally.observation(moved.mean))
        times.append(self.clock())
        record = {"round": number, **tally.record(moved.norm, times[1] - times[0], times[2] - times[1])}
        events, spent = state.events_with(tally.events), self.plan.spent
        record |= {} if spent is None else spent(events)
        self._keep(
            replace(
                state,
                rounds_completed=number,
                adapter=moved.adapter,
                average=include(state.average, moved.adapter, number),
                optimizer=moved.optimizer,
                statistics=statistics,
                scales=self.plan.allocator.scales(statistics, number),
                ledger_heads={**state.ledger_heads, **tally.ledger_heads},
                events=events,
                records=(*state.records, record),
            )
        )
        return None

    def _patience(self, since: float) -> Patience:
        plan = self.plan
        return Patience(plan.min_sites, plan.deadline_s, plan.ask_again_s, since, self.clock, self.sleep)

    def _ask(self, site: str, number: int) -> Ask:
        schedule, facts, part = self.state.schedules[site], self.facts[site], self.plan.part(site)
        nth = self.plan.first + number
        request = TrainRequest(
            run_id=self.state.run_id,
            request_id=f"{self.state.run_id}:{site}:{nth}",
            round_number=nth,
            local_steps=self.plan.local_steps,
            learning_rate=self.plan.learning_rates[number - 1],
            noise_multiplier=schedule.noise_multiplier_at((nth - 1) * self.plan.local_steps),
            sampling_rate=schedule.sampling_rate,
            scales=self.state.scales,
            clipping=self.plan.clipping,
            layout_digest=self.plan.layout_digest,
            adapter=self.state.adapter,
            ledger_head=self.state.ledger_heads.get(site, facts.ledger_head),
            task_weights=self.plan.task_weights,
            wire_type=self.plan.wire_type,
            stage=self.plan.stage,
            rank=part.rank,
        )
        return Ask(request, schedule.unit, schedule.sampling_rate * facts.declared_units, part)

    def _keep(self, state: Checkpoint) -> None:
        save(state, self.folder / CHECKPOINT_FOLDER)
        self.state, self.unfinished = state, {}
        self._write_records("a", state.records[-1:])
        if self.on_round is not None:
            self.on_round(state)

    def _write_records(self, mode: Literal["w", "a"], records: tuple[JsonDict, ...]) -> None:
        path = self.folder / ROUNDS_FILE
        try:
            with path.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise RunDirectoryError(
                f"{path}: cannot be written ({error.strerror}); mend it and resume"
            ) from error

    def _stop(self, did_what: str, num_sites: int, problems: Mapping[str, str]) -> StopReason:
        """``budget`` where nothing else keeps the missing sites away, ``quorum`` otherwise."""
        named = "; ".join(f"{site}: {problem}" for site, problem in sorted(problems.items()))
        self.detail = f"{num_sites} sites {did_what}, min_sites is {self.plan.min_sites}" + (
            f" ({named})" if named else ""
        )
        return "budget" if set(problems.values()) == {RefusalCode.BUDGET.value} else "quorum"
