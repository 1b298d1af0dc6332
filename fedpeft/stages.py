# SPDX-License-Identifier: Apache-2.0
"""What a run does before its first round: synthetic data, where its configuration asks for them."""

from __future__ import annotations

from collections.abc import Mapping

from fedpeft.config import RunConfig
from fedpeft.federation import Scheduler
from fedpeft.folder import new_run_id
from fedpeft.plan import Plan
from fedpeft.privacy.fitting import fitted
from fedpeft.privacy.histogram import VotingTransport
from fedpeft.synthesis.base import find
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.dataset import FOLDER
from fedpeft.synthesis.stage import StagePlan, synthesize
from fedpeft.types import Schedule, SiteFacts
from fedpeft.workspace import Workspace


def begin(workspace: Workspace, plan: Plan, transport: VotingTransport) -> Begun:
    """Carry out the stages before training, or read what is finished of them.

    Returns:
        The id of the run, and what sites have committed to and released already.

    Raises:
        FedpeftError: a stage cannot be carried out; what is complete is in the run's folder.
    """
    config = workspace.config
    run_id = new_run_id(config)
    if config.synthesis.generator is None:
        return Begun(run_id, {})
    begun, _ = synthesize(transport, stage_plan(config, plan, run_id), run_id, workspace.out / FOLDER)
    return begun


def stage_plan(config: RunConfig, plan: Plan, run_id: str) -> StagePlan:
    """Of synthesis."""
    name = config.synthesis.generator
    assert name is not None
    return StagePlan(
        generator=find(name)(config.synthesis, config.data),
        name=name,
        schedule=scheduler(plan, run_id),
        unit=plan.unit,
        delta=plan.delta,
        num_sites=len(plan.sites),
        deadline_s=config.federation.deadline_s,
    )


def scheduler(plan: Plan, run_id: str) -> Scheduler:
    """What each site that is there shall commit: its plan, made to fit what it has left."""
    by_name = {site.name: site for site in plan.sites}

    def schedule(facts: Mapping[str, SiteFacts]) -> dict[str, Schedule]:
        known = {name: by_name[name] for name in facts if name in by_name}
        planned = {name: plan.schedule(site, run_id) for name, site in known.items()}
        return {name: fitted(s, facts[name].epsilon, facts[name].delta) for name, s in planned.items()}

    return schedule
