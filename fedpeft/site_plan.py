# SPDX-License-Identifier: Apache-2.0
"""A site's part of a planned run: its noise, calibrated over all that it will be asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedpeft.config import RunConfig
from fedpeft.guarantee import site_epsilons
from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.events import POISSON_GAUSSIAN
from fedpeft.privacy.histogram import SYNTHESIS
from fedpeft.privacy.schedules.base import find as find_schedule
from fedpeft.privacy.schedules.base import stretches
from fedpeft.privacy.schedules.calibrated import Parts, calibrate_parts
from fedpeft.privacy.tasks import epsilon_by_task
from fedpeft.synthesis.budget import steps_of
from fedpeft.training.learning_rate import learning_rates
from fedpeft.types import PrivacyEvent
from fedpeft.votes import Votes, events_beside, votes_of


@dataclass(frozen=True, slots=True)
class SitePlan:
    """A site's part of a run.

    Attributes:
        sampling_rate: probability with which each unit enters a step.
        expected_batch: sampling rate times declared units.
        noise_multiplier: standard deviation of the noise over the sensitivity; the smallest of the rounds.
        schedule: ``(noise_multiplier, steps)`` of one stretch of steps after another.
        steps: private steps to pay for, over all rounds, the crash reserve included.
        epsilon: of these steps at the run's delta, composed by PLD; at most what was asked for.
        epsilon_by_task: likewise for the units of each task, where tasks have weights.
        votes: ``(stage, noise_multiplier, releases)`` of what is paid for beside the steps.
        before: like ``schedule``, the steps of a stage before the rounds; not among ``steps``.
    """

    name: str
    declared_units: int
    sampling_rate: float
    expected_batch: float
    noise_multiplier: float
    schedule: Parts
    steps: int
    epsilon: float
    epsilon_by_task: Mapping[str, float]
    votes: Votes = ()
    before: Parts = ()

    @property
    def typical_multiplier(self) -> float:
        """The root mean square over its steps."""
        return math.sqrt(sum(steps * multiplier**2 for multiplier, steps in self.schedule) / self.steps)


def make_site_plan(config: RunConfig, name: str, declared_units: int, released: int) -> SitePlan:
    """Calibrate a site's noise over all steps and votes of the run.

    Args:
        config: of the run.
        name: of the site.
        declared_units: of the site.
        released: numbers of a step's release.

    Raises:
        ConfigError: no noise reaches the epsilon.
    """
    rate = config.training.sampling_rate
    epsilon = site_epsilons(config)[name]
    votes = votes_of(config, epsilon)
    before = steps_of(config.synthesis, epsilon, config.delta, rate, config.training.local_steps)
    parts, kept = _training_parts(config, epsilon, events_beside(config, votes), before)
    schedule = (*parts, *kept)
    events = steps_as_events(schedule, rate)
    return SitePlan(
        name=name,
        declared_units=declared_units,
        sampling_rate=rate,
        expected_batch=rate * declared_units,
        noise_multiplier=min(multiplier for multiplier, _ in parts),
        schedule=schedule,
        steps=sum(steps for _, steps in schedule),
        epsilon=epsilon_pld(events, config.delta),
        epsilon_by_task=epsilon_by_task(config.task_weights, schedule, rate, config.delta, released),
        votes=votes,
        before=before,
    )


def _training_parts(
    config: RunConfig, epsilon: float, votes: tuple[PrivacyEvent, ...], before: Parts
) -> tuple[Parts, Parts]:
    """The multipliers of the rounds, composed with all beside them, and the crash reserve where it is apart.

    A charge that a crash makes uncertain can be paid with a step of no more noise only, so the reserve is at
    the smallest multiplier of the whole run, be it that of a stage before the rounds.
    """
    rate, delta, reserve = config.training.sampling_rate, config.delta, _reserve(config)
    beside = (*votes, *steps_as_events(before, rate))
    parts = calibrate_parts(epsilon, delta, rate, _stretches(config, reserve), beside)
    least = min((multiplier for multiplier, _ in before), default=math.inf)
    if not reserve or least >= min(multiplier for multiplier, _ in parts):
        return parts, ()
    kept = ((least, reserve),)
    beside = (*beside, *steps_as_events(kept, rate))
    return calibrate_parts(epsilon, delta, rate, _stretches(config, 0), beside), kept


def _reserve(config: RunConfig) -> int:
    """Steps that are kept for crashes."""
    return config.privacy.crash_reserve * config.training.local_steps


def steps_as_events(parts: Iterable[tuple[float, int]], rate: float) -> tuple[PrivacyEvent, ...]:
    """What an accountant makes of steps; the unit does not matter to it."""
    return tuple(PrivacyEvent(POISSON_GAUSSIAN, m, rate, n, "record") for m, n in parts)


def inflation(config: RunConfig, sites: Sequence[SitePlan]) -> dict[str, float]:
    """Of the training noise, by each stage beside it."""
    names = dict.fromkeys(name for site in sites for name, _, _ in site.votes)
    if any(site.before for site in sites):
        names[SYNTHESIS] = None
    return {name: max(_ratio(config, site, name) for site in sites) for name in names}


def _ratio(config: RunConfig, site: SitePlan, stage: str) -> float:
    others = events_beside(config, tuple(vote for vote in site.votes if vote[0] != stage))
    before = () if stage == SYNTHESIS else site.before
    without, _ = _training_parts(config, site_epsilons(config)[site.name], others, before)
    return site.schedule[0][0] / without[0][0]


def _stretches(config: RunConfig, reserve: int) -> Parts:
    """Relative multipliers of all steps, the crash reserve at the smallest, which can pay for any other."""
    privacy, local_steps = config.privacy, config.training.local_steps
    rates = learning_rates(config.training, config.federation.rounds)
    planned = stretches(find_schedule(privacy.schedule), privacy, rates, local_steps)
    if not reserve:
        return planned
    smallest = min(factor for factor, _ in planned)
    if planned[-1][0] == smallest:
        return (*planned[:-1], (smallest, planned[-1][1] + reserve))
    return (*planned, (smallest, reserve))
