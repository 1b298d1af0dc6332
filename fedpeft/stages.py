# SPDX-License-Identifier: Apache-2.0
"""What a run does before its first round: synthetic data, where its configuration asks for them."""

from __future__ import annotations

from fedpeft.config import RunConfig
from fedpeft.federation import Scheduler
from fedpeft.folder import new_run_id
from fedpeft.guarantee import site_epsilons
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
        schedule=scheduler(config, plan, run_id),
        unit=plan.unit,
        delta=plan.delta,
        num_sites=len(plan.sites),
        deadline_s=config.federation.deadline_s,
    )


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
