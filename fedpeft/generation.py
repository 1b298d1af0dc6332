# SPDX-License-Identifier: Apache-2.0
"""The backbone as a writer of pairs, and the rounds in which the sites teach it to write.

They are rounds like any other - the same loop, requests, noise and ledgers - on the sites' records in another
form, and they come first in the run's one commitment.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from fedpeft.adapters.adapter import Adapter
from fedpeft.aggregation.products import maker_of
from fedpeft.aggregation.server_optimizer import make_server_optimizer
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.checkpoint import FILE_NAME, Checkpoint, load
from fedpeft.config import RunConfig
from fedpeft.errors import RunDirectoryError
from fedpeft.federation import CHECKPOINT_FOLDER, Outcome, RoundPlan, run_rounds
from fedpeft.parts import parts_of
from fedpeft.plan import Plan
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.privacy.events import POISSON_GAUSSIAN
from fedpeft.privacy.histogram import SYNTHESIS, VotingTransport
from fedpeft.spending import Spending
from fedpeft.synthesis.booth import Booth
from fedpeft.synthesis.certificate import Contribution
from fedpeft.synthesis.writing import Writer
from fedpeft.training.learning_rate import learning_rates
from fedpeft.types import FloatVector, PrivacyEvent
from fedpeft.workspace import Workspace

FOLDER: Final = "generator"
"""Of its rounds, in that of the synthetic data."""

_log = logging.getLogger(__name__)


def make_writer(workspace: Workspace, folder: Path) -> Writer:
    """The backbone of ``workspace``; what it writes is kept in ``folder``."""
    backbone, data = workspace.backbone, workspace.config.data
    return Writer(workspace.adapter, backbone.tokenizer, data, workspace.lock, folder)


def train_writer(
    workspace: Workspace, plan: Plan, transport: VotingTransport, booth: Booth, folder: Path
) -> FloatVector | None:
    """Have the sites train the adapter to write pairs; what they released is noted in ``booth``.

    Args:
        workspace: its adapter is the one that is trained.
        plan: of the run.
        transport: reaches the sites.
        booth: of the stage.
        folder: of the synthetic data; rounds that are complete are gone on from.

    Returns:
        ``(D,)`` the adapter's state; ``None`` where no round was completed.

    Raises:
        KeyboardInterrupt: it was interrupted; what is complete is kept.
        RunDirectoryError: the rounds in ``folder`` are another run's.
        FedpeftError: a round cannot be carried out.
    """
    config, home = workspace.config, folder / FOLDER
    sites = booth.commit(SYNTHESIS)
    kept = home / CHECKPOINT_FOLDER
    begun = load(kept) if (kept / FILE_NAME).is_file() else None
    if begun is not None and begun.run_id != booth.begun.run_id:
        raise RunDirectoryError(
            f"{kept}: is of run {begun.run_id}, and this is {booth.begun.run_id}, which paid for none of it; "
            "move it away"
        )
    if not sites and begun is None:
        return None
    schedules = {site: booth.begun.schedules[site] for site in sites}
    fresh = Checkpoint.fresh(booth.begun.run_id, workspace.adapter.zeros(), {}, schedules)
    outcome = run_rounds(
        transport,
        _round_plan(config, plan, workspace.adapter, booth.num_present),
        begun or fresh,
        schedule=lambda _facts: schedules,
        new_aggregator=maker_of(config.federation.aggregation, workspace.adapter),
        optimizer=make_server_optimizer(config.federation),
        folder=_made(home),
    )
    if outcome.stopped_because == "interrupted":
        raise KeyboardInterrupt
    _note(booth, outcome, sites, plan, config.training.local_steps)
    for site, reason in sorted(booth.left_out.items()):
        _log.warning("synthesis: the generator learns nothing from %s (%s)", site, reason)
    state = outcome.state
    return state.released(averaged=config.federation.average_iterates) if state.rounds_completed else None


def _round_plan(config: RunConfig, plan: Plan, adapter: Adapter, num_sites: int) -> RoundPlan:
    """Noise is the same in all segments; sites that fail are gone on without, as by a vote."""
    same = config.privacy.model_copy(update={"allocation": "uniform", "drop_after": 0})
    return RoundPlan(
        local_steps=config.training.local_steps,
        learning_rates=learning_rates(config.training, config.synthesis.rounds),
        allocator=Allocator.of(same, plan.layout),
        smoother=Smoother(plan.layout, config.federation.layer_smoothing),
        clipping=config.privacy.clipping,
        layout_digest=adapter.digest,
        num_sites=num_sites,
        min_sites=1,
        deadline_s=config.federation.deadline_s,
        ask_again_s=config.ask_again_s,
        wire_type=config.federation.wire_type,
        spent=Spending(plan.delta).record,
        stage=SYNTHESIS,
        parts=parts_of(config, adapter),
    )


def _note(booth: Booth, outcome: Outcome, sites: list[str], plan: Plan, local_steps: int) -> None:
    """In ``booth``, what each site released, that of a round which did not come to an end included.

    A site that took part before an interruption and is gone since is named like the others; one that came
    only then is left out.
    """
    state, declared = outcome.state, {site.name: site.declared_units for site in plan.sites}
    for site in sorted({*sites, *state.schedules}):
        rounds = [r["round"] for r in state.records if site in r["answered"] or site in r["dropped"]]
        if len(outcome.events.get(site, ())) > len(rounds):
            rounds.append(state.rounds_completed + 1)
        if not rounds:
            booth.left_out.setdefault(site, outcome.left_out.get(site, "no release"))
            continue
        schedule = state.schedules[site]
        first, *more = (f"{state.run_id}:{site}:{number}" for number in rounds)
        # All were asked for at the one multiplier with which the schedule begins, and what another answer
        # says is never counted.
        event = PrivacyEvent(
            POISSON_GAUSSIAN,
            schedule.noise_multiplier_at(0),
            schedule.sampling_rate,
            local_steps * len(rounds),
            schedule.unit,
        )
        head = state.ledger_heads.get(site, "")
        booth.contributors[site] = Contribution(declared[site], first, event, head, tuple(more))
        booth.left_out.pop(site, None)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{folder}: cannot be written ({error.strerror}); make room and resume"
        ) from error
    return folder
