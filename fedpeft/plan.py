# SPDX-License-Identifier: Apache-2.0
"""What a run will cost before it starts: noise, epsilon, parameters, bytes. Reads no data, trains nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from fedpeft.adapters.adapter import plan_layout
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.config import RunConfig, missing_files, warnings_of
from fedpeft.config.parties import in_one_place
from fedpeft.config.presets import method_facts
from fedpeft.dimensions import DimensionRule, dimension_rule, signal_over_noise
from fedpeft.guarantee import guarantee, site_epsilons
from fedpeft.input_noise import input_noise, needs_a_prefix
from fedpeft.methods.base import find as find_method
from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.clipping import released_size
from fedpeft.privacy.events import GAUSSIAN
from fedpeft.privacy.histogram import SELECTION, SYNTHESIS
from fedpeft.privacy.schedules.base import find as find_schedule
from fedpeft.privacy.schedules.base import stretches
from fedpeft.privacy.schedules.calibrated import Parts, calibrate_parts
from fedpeft.privacy.tasks import epsilon_by_task
from fedpeft.selection.budget import signal_over_noise as signal_over_noise_of_blocks
from fedpeft.selection.budget import warnings_of as block_warnings
from fedpeft.synthesis.budget import TradeOff
from fedpeft.training.learning_rate import learning_rates
from fedpeft.types import JsonDict, Layout, PrivacyEvent, Schedule
from fedpeft.votes import Votes, events_beside, votes_of

_BYTES_PER_VALUE: Final = 4


@dataclass(frozen=True, slots=True)
class SitePlan:
    """A site's part of a run.

    Attributes:
        sampling_rate: probability with which each unit enters a step.
        expected_batch: sampling rate times declared units.
        noise_multiplier: standard deviation of the noise over the sensitivity; the smallest of the run.
        schedule: ``(noise_multiplier, steps)`` of one stretch of steps after another.
        steps: private steps to pay for, over all rounds, the crash reserve included.
        epsilon: of these steps at the run's delta, composed by PLD; at most what was asked for.
        epsilon_by_task: likewise for the units of each task, where tasks have weights.
        votes: ``(stage, noise_multiplier, releases)`` of what is paid for beside the steps.
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

    @property
    def typical_multiplier(self) -> float:
        """The root mean square over its steps."""
        return math.sqrt(sum(steps * multiplier**2 for multiplier, steps in self.schedule) / self.steps)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole run.

    Attributes:
        epsilon: the cap of the run, the largest over the sites.
        layout: of the adapter.
        num_parameters: of the backbone.
        dimensions: of the adapter, against what the guarantee carries.
        signal_over_noise: of all steps, for a mean clipped gradient of norm 1.
        synthesis: what votes cost and what they tell, if sites are asked for any.
        bytes_a_round: adapter values up and down, over all sites.
        method: its name, and the keys that it filled in.
        has_epsilon: whether what is trained keeps ``epsilon``; a reference may not.
    """

    epsilon: float
    delta: float
    unit: str
    layout: Layout
    num_parameters: int
    dimensions: DimensionRule
    signal_over_noise: float
    sites: tuple[SitePlan, ...]
    synthesis: TradeOff | None
    bytes_a_round: int
    warnings: tuple[str, ...]
    guarantee: str
    method: JsonDict
    has_epsilon: bool = True

    def __repr__(self) -> str:
        """What it promises and what that takes; ``to_json`` has the rest."""
        most = max(site.noise_multiplier for site in self.sites)
        return (
            f"<Plan epsilon {self.epsilon:g}, delta {self.delta:.3g}, unit {self.unit}: {len(self.sites)} "
            f"sites, {self.sites[0].steps} steps, noise multiplier {most:g}, {self.layout.size:,} trainable "
            "parameters>"
        )

    @property
    def trainable_percent(self) -> float:
        """Trainable parameters in percent of the backbone's."""
        return 100 * self.layout.size / self.num_parameters

    @property
    def epsilon_by_task(self) -> dict[str, float]:
        """Of the units of each task, the largest over the sites; empty where units are all alike."""
        tasks = sorted({task for site in self.sites for task in site.epsilon_by_task})
        return {task: max(site.epsilon_by_task[task] for site in self.sites) for task in tasks}

    def schedule(self, site: SitePlan, run_id: str) -> Schedule:
        """What a site is asked to commit before the first step.

        Args:
            site: one of ``sites``.
            run_id: the run's name, which the site's ledger keeps.
        """
        return Schedule(run_id, site.schedule, site.sampling_rate, self.unit, votes=site.votes)

    def _nothing_promised(self) -> JsonDict:
        """What a site's figures are replaced by where nothing is clipped and noised."""
        names = ("noise_multiplier", "schedule", "epsilon", "epsilon_by_task")
        return {} if self.has_epsilon else dict.fromkeys(names)

    def _stages(self) -> JsonDict:
        """What each stage would cost alone; together they cost at most ``epsilon``, not the sum."""
        stages: JsonDict = {"training": {"epsilon": max(site.epsilon for site in self.sites)}}
        for stage in dict.fromkeys(vote[0] for site in self.sites for vote in site.votes):
            alone = [
                epsilon_pld(
                    [PrivacyEvent(GAUSSIAN, m, 1.0, n, self.unit) for s, m, n in site.votes if s == stage],
                    self.delta,
                )
                for site in self.sites
            ]
            stages[stage] = {"epsilon": max(alone)}
        if self.synthesis is not None:
            stages[SYNTHESIS] |= self.synthesis.to_json()
        return stages

    def to_json(self) -> JsonDict:
        """The plan for machines."""
        return {
            "method": self.method,
            "epsilon": self.epsilon if self.has_epsilon else None,
            "delta": self.delta if self.has_epsilon else None,
            "unit": self.unit,
            "trainable_parameters": self.layout.size,
            "trainable_percent": self.trainable_percent,
            "segments": len(self.layout.segments),
            "dimensions": self.dimensions.to_json(),
            "signal_over_noise": self.signal_over_noise,
            "stages": self._stages() if self.has_epsilon else {},
            "epsilon_by_task": self.epsilon_by_task,
            "sites": [asdict(site) | self._nothing_promised() for site in self.sites],
            "bytes_a_round": self.bytes_a_round,
            "warnings": list(self.warnings),
            "guarantee": self.guarantee,
        }


def make_plan(config: RunConfig) -> Plan:
    """Calibrate every site's noise over all rounds and steps of the run.

    Raises:
        UserError: the backbone has no such blocks or modules, or epsilon cannot be reached.
    """
    method, sentence, facts = find_method(config.method), guarantee(config), method_facts(config)
    skeleton = backbone_skeleton(config.model)
    layout = plan_layout(skeleton, config.adapter)
    if method.how == "noised-inputs":
        needs_a_prefix(layout)
        facts |= {"inputs": input_noise(config).to_json()}
    if method.how == "one-place":
        config = in_one_place(config)
    released = released_size(layout.size, config.privacy.clipping)
    sites = tuple(_site_plan(config, name, units, released) for name, units in config.declared_units.items())
    epsilons = site_epsilons(config)
    synthesis = _trade_off(config, sites)
    dimensions = dimension_rule(
        layout.size, [site.declared_units for site in sites], [epsilons[s.name] for s in sites], config.delta
    )
    blocks = len({segment.block for segment in layout.segments})
    told = (*(synthesis.warnings() if synthesis else ()), *_block_warnings(config, sites, blocks))
    return Plan(
        epsilon=max(epsilons.values()),
        delta=config.delta,
        unit=config.privacy.unit,
        layout=layout,
        num_parameters=sum(p.numel() for p in skeleton.parameters()),
        dimensions=dimensions,
        signal_over_noise=signal_over_noise(
            [site.expected_batch for site in sites],
            [site.typical_multiplier for site in sites],
            config.federation.rounds * config.training.local_steps,
            layout.size,
        ),
        sites=sites,
        synthesis=synthesis,
        bytes_a_round=2 * _BYTES_PER_VALUE * layout.size * len(sites),
        warnings=(*warnings_of(config), *missing_files(config), *dimensions.warnings(), *told),
        guarantee=sentence,
        method=facts,
        has_epsilon=method.has_epsilon,
    )


def _site_plan(config: RunConfig, name: str, declared_units: int, released: int) -> SitePlan:
    rate = config.training.sampling_rate
    epsilon = site_epsilons(config)[name]
    votes = votes_of(config, epsilon)
    beside = events_beside(config, votes)
    parts = calibrate_parts(epsilon, config.delta, rate, _stretches(config), beside)
    events = [PrivacyEvent("poisson-gaussian", m, rate, n, config.privacy.unit) for m, n in parts]
    return SitePlan(
        name=name,
        declared_units=declared_units,
        sampling_rate=rate,
        expected_batch=rate * declared_units,
        noise_multiplier=min(multiplier for multiplier, _ in parts),
        schedule=parts,
        steps=sum(steps for _, steps in parts),
        epsilon=epsilon_pld(events, config.delta),
        epsilon_by_task=epsilon_by_task(config.task_weights, parts, rate, config.delta, released),
        votes=votes,
    )


def _trade_off(config: RunConfig, sites: tuple[SitePlan, ...]) -> TradeOff | None:
    """Of the votes on bins; ``None`` where there are none."""
    stage = SYNTHESIS
    multipliers = _multipliers(sites, stage)
    if not multipliers:
        return None
    rate, epsilons, ratios = config.training.sampling_rate, site_epsilons(config), []
    for site in sites:
        others = events_beside(config, tuple(vote for vote in site.votes if vote[0] != stage))
        without = calibrate_parts(epsilons[site.name], config.delta, rate, _stretches(config), others)
        ratios.append(site.schedule[0][0] / without[0][0])
    return TradeOff(
        multipliers=multipliers,
        declared_units=sum(site.declared_units for site in sites),
        bins=config.synthesis.bins,
        neighbours=config.synthesis.neighbours,
        delta=config.delta,
        inflation=max(ratios),
    )


def _multipliers(sites: tuple[SitePlan, ...], stage: str) -> tuple[float, ...]:
    return tuple(m for site in sites for name, m, _ in site.votes if name == stage)


def _block_warnings(config: RunConfig, sites: tuple[SitePlan, ...], num_blocks: int) -> tuple[str, ...]:
    """On a vote on blocks that noise would drown; none where there is no vote."""
    multipliers = _multipliers(sites, SELECTION)
    if not multipliers:
        return ()
    units = sum(site.declared_units for site in sites)
    return block_warnings(signal_over_noise_of_blocks(config.selection, multipliers, units, num_blocks))


def _stretches(config: RunConfig) -> Parts:
    """Relative multipliers of all steps, the crash reserve at the smallest, which can pay for any other."""
    privacy, local_steps = config.privacy, config.training.local_steps
    rates = learning_rates(config.training, config.federation.rounds)
    planned = stretches(find_schedule(privacy.schedule), privacy, rates, local_steps)
    if not privacy.crash_reserve:
        return planned
    smallest, reserve = min(factor for factor, _ in planned), privacy.crash_reserve * local_steps
    if planned[-1][0] == smallest:
        return (*planned[:-1], (smallest, planned[-1][1] + reserve))
    return (*planned, (smallest, reserve))
