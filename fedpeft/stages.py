# SPDX-License-Identifier: Apache-2.0
"""What a run does before its first round: synthetic data, and the choice of the blocks to train."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from fedpeft.adapters.targets import find_blocks
from fedpeft.config import RunConfig
from fedpeft.federation import Scheduler
from fedpeft.folder import new_run_id
from fedpeft.generation import make_writer, train_writer
from fedpeft.guarantee import site_epsilons
from fedpeft.layer_choice import choose_layers, read_choice, to_bytes, write_choice
from fedpeft.plan import Plan
from fedpeft.privacy.fitting import fitted
from fedpeft.privacy.histogram import SELECTION, VotingTransport, block_map
from fedpeft.selection.base import Progress
from fedpeft.synthesis import begun as begun_file
from fedpeft.synthesis.base import Tally, find
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.booth import Booth, Question, Terms
from fedpeft.synthesis.certificate import contribution_from_json, contribution_to_json
from fedpeft.synthesis.dataset import FOLDER
from fedpeft.synthesis.stage import StagePlan, synthesize
from fedpeft.types import JsonDict, PrivacyEvent, Schedule, SiteFacts
from fedpeft.workspace import Workspace


def begin(workspace: Workspace, plan: Plan, transport: VotingTransport) -> Begun:
    """Carry out the stages before training, or read what is finished of them.

    Returns:
        The id of the run, and what sites have committed to and released already.

    Raises:
        FedpeftError: a stage cannot be carried out; what is complete is in the run's folder.
    """
    config = workspace.config
    if config.synthesis.generator is None:
        begun = _begun(config, workspace.out)
    else:
        run_id = new_run_id(config)
        stage = stage_plan(workspace, plan, transport, run_id)
        begun, _ = synthesize(transport, stage, run_id, workspace.out / FOLDER)
    events = dict(begun.events)
    for site, event in _events_of_choice(workspace.out).items():
        events[site] = (*events.get(site, ()), event)
    return dataclasses.replace(begun, events=events)


def stage_plan(workspace: Workspace, plan: Plan, transport: VotingTransport, run_id: str) -> StagePlan:
    """Of synthesis."""
    config, folder = workspace.config, workspace.out / FOLDER
    name = config.synthesis.generator
    assert name is not None
    return StagePlan(
        generator=find(name)(config.synthesis, config.data),
        name=name,
        terms=terms_of(config, plan, run_id),
        train=lambda booth: train_writer(workspace, plan, transport, booth, folder),
        writer=make_writer(workspace, folder),
    )


def terms_of(config: RunConfig, plan: Plan, run_id: str) -> Terms:
    """Of votes."""
    return Terms(
        schedule=scheduler(config, plan, run_id),
        unit=plan.unit,
        delta=plan.delta,
        num_sites=len(plan.sites),
        deadline_s=config.federation.deadline_s,
    )


def choose_by_votes(
    workspace: Workspace, plan: Plan, transport: VotingTransport, progress: Progress | None = None
) -> JsonDict:
    """Choose the blocks to train by the sites' votes; writes nothing but their commitments.

    Args:
        workspace: its adapter has all blocks to choose from.
        plan: of the run with all of them.
        transport: reaches the sites.
        progress: hears of how far it is.

    Returns:
        What ``selection.json`` holds.

    Raises:
        FedpeftError: the stage cannot be carried out.
    """
    config, out = workspace.config, workspace.out
    begun = _begun(config, out)
    booth = Booth(transport, terms_of(config, plan, begun.run_id), begun, out)
    blocks = list(plan.layout.blocks)
    counts = np.zeros(len(find_blocks(workspace.model)[1]))
    noise = 0.0

    def poll(size: int) -> Tally:
        nonlocal noise
        axes = np.eye(len(blocks), dtype=np.float32)
        tally = booth.poll(Question(SELECTION, block_map(workspace.adapter.digest), size, axes))
        counts[blocks], noise = tally.counts, tally.noise
        return tally

    found = choose_layers(config, plan, None, progress, workspace.backbone, poll)
    return found | {
        "privacy": "the sites' votes were charged; see plan and ledgers",
        "votes": {
            "counts": counts.tolist(),
            "noise": noise,
            "contributors": {s: contribution_to_json(c) for s, c in booth.contributors.items()},
            "left_out": booth.left_out,
        },
    }


def keep_choice(config: RunConfig, out: Path, found: JsonDict) -> None:
    """Write ``selection.json``, and bind the run to exactly this file, first.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    digest = hashlib.sha256(to_bytes(found)).hexdigest()
    begun_file.save(dataclasses.replace(_begun(config, out), choice=digest), out)
    write_choice(out, found)


def _begun(config: RunConfig, out: Path) -> Begun:
    return begun_file.load(out) or Begun(new_run_id(config), {})


def _events_of_choice(out: Path) -> dict[str, PrivacyEvent]:
    votes = (read_choice(out) or {}).get("votes", {})
    found = votes.get("contributors", {})
    return {site: contribution_from_json(fields).event for site, fields in found.items()}


def scheduler(config: RunConfig, plan: Plan, run_id: str) -> Scheduler:
    """What each site that is there shall commit: its plan, made to fit what it has left.

    A site that keeps more rounds for crashes than the run plans for gets as many more steps, or it would have
    to refuse the run's last rounds.
    """
    by_name = {site.name: site for site in plan.sites}
    caps, privacy = site_epsilons(config), config.privacy

    def of_site(name: str, facts: SiteFacts) -> Schedule:
        planned = plan.schedule(by_name[name], run_id)
        missing = max(0, facts.crash_reserve - privacy.crash_reserve) * config.training.local_steps
        if not missing or config.task_weights:  # other steps would cost the units of each task otherwise
            return fitted(planned, facts.epsilon, facts.delta)
        # What the run says that it takes of a site stays true: the same budget, over more steps.
        epsilon, delta = min(facts.epsilon, caps[name]), min(facts.delta, plan.delta)
        return fitted(planned.with_reserve(missing), epsilon, delta)

    return lambda facts: {name: of_site(name, facts[name]) for name in facts if name in by_name}
