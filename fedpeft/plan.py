# SPDX-License-Identifier: Apache-2.0
"""What a run will cost before it starts: noise, epsilon, parameters, bytes. Reads no data, trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from torch import nn

from fedpeft.adapters.adapter import plan_layout
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.config import RunConfig, missing_files, warnings_of
from fedpeft.config.parties import in_one_place
from fedpeft.config.presets import method_facts
from fedpeft.dimensions import DimensionRule, dimension_rule, signal_over_noise
from fedpeft.errors import ConfigError
from fedpeft.guarantee import guarantee, site_epsilons
from fedpeft.input_noise import input_noise, needs_a_prefix
from fedpeft.methods.base import find as find_method
from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.clipping import released_size
from fedpeft.privacy.events import GAUSSIAN
from fedpeft.privacy.histogram import SELECTION, SYNTHESIS
from fedpeft.selection.budget import signal_over_noise as signal_over_noise_of_blocks
from fedpeft.selection.budget import warnings_of as block_warnings
from fedpeft.site_plan import SitePlan, inflation, make_site_plan, steps_as_events
from fedpeft.synthesis.budget import TradeOff
from fedpeft.types import TRAINING, JsonDict, Layout, PrivacyEvent, Schedule

_BYTES_PER_VALUE: Final = 4
_MOST_BYTES: Final = 2**31  # of a message of gRPC
_MUCH_CARRIED: Final = 10


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
        inflation: by stage beside the training, its noise over what it were without that stage, the largest
            over the sites.
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
    inflation: Mapping[str, float]
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
        stage = f"{SYNTHESIS}+{TRAINING}" if site.before else TRAINING
        parts = (*site.before, *site.schedule)
        return Schedule(run_id, parts, site.sampling_rate, self.unit, stage, site.votes)

    @property
    def steps_before(self) -> int:
        """Private steps of a site in stages before the rounds, the same at all."""
        return sum(steps for _, steps in self.sites[0].before)

    def _nothing_promised(self) -> JsonDict:
        """What a site's figures are replaced by where nothing is clipped and noised."""
        names = ("noise_multiplier", "schedule", "epsilon", "epsilon_by_task")
        return {} if self.has_epsilon else dict.fromkeys(names)

    def stages(self) -> JsonDict:
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
        if self.steps_before:
            alone = [
                epsilon_pld(steps_as_events(site.before, site.sampling_rate), self.delta)
                for site in self.sites
            ]
            stages[SYNTHESIS] = {"epsilon": max(alone), "steps": self.steps_before}
        for stage, ratio in self.inflation.items():
            stages[stage]["training_noise"] = ratio
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
            "stages": self.stages() if self.has_epsilon else {},
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
    sites = tuple(
        make_site_plan(config, name, units, released) for name, units in config.declared_units.items()
    )
    epsilons = site_epsilons(config)
    ratios = inflation(config, sites)
    synthesis = _trade_off(config, sites, ratios)
    dimensions = dimension_rule(
        layout.size, [site.declared_units for site in sites], [epsilons[s.name] for s in sites], config.delta
    )
    sizes = _trained_sizes(config, skeleton, layout)
    blocks = len(layout.blocks)
    told = (
        *(synthesis.warnings() if synthesis else ()),
        *_generator_warnings(config, sites, _mean_size(sizes, sites)),
        *_carried_warnings(config, layout),
        *_block_warnings(config, sites, blocks),
    )
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
            _mean_size(sizes, sites),
        ),
        sites=sites,
        synthesis=synthesis,
        inflation=ratios,
        bytes_a_round=_BYTES_PER_VALUE * sum(size + layout.state_size for size in sizes),
        warnings=(*warnings_of(config), *missing_files(config), *dimensions.warnings(), *told),
        guarantee=sentence,
        method=facts,
        has_epsilon=method.has_epsilon,
    )


def _trained_sizes(config: RunConfig, skeleton: nn.Module, layout: Layout) -> list[int]:
    """Numbers that each site trains: all, or those of its rank."""
    ranks = {s.name: None if s.rank is None else min(s.rank, config.adapter.rank) for s in config.sites}
    own = {rank: config.adapter.model_copy(update={"rank": rank}) for rank in ranks.values() if rank}
    found = {rank: plan_layout(skeleton, adapter).size for rank, adapter in own.items()}
    return [found.get(ranks[name] or 0, layout.size) for name in config.declared_units]


def _mean_size(sizes: Sequence[int], sites: Sequence[SitePlan]) -> float:
    """Of the sites' dimensions, each by its share of the noise in a coordinate."""
    squares = [site.typical_multiplier**2 for site in sites]
    return sum(size * square for size, square in zip(sizes, squares, strict=True)) / sum(squares)


def _carried_warnings(config: RunConfig, layout: Layout) -> tuple[str, ...]:
    """Where rounds bring sites far more than they train.

    Raises:
        ConfigError: a request would be larger than any message may be.
    """
    key = f"adapter.residual_rank = {config.adapter.residual_rank}"
    carried = layout.state_size - layout.size
    size = _BYTES_PER_VALUE * layout.state_size
    if size >= _MOST_BYTES:
        raise ConfigError(
            f"{key}: a request would have {size:,} bytes, and must have fewer than {_MOST_BYTES:,}; "
            "lower it, or train fewer adapter.layers"
        )
    if carried < _MUCH_CARRIED * layout.size:
        return ()
    return (
        f"{key}: rounds carry {carried:,} numbers beside the {layout.size:,} that are trained, "
        f"{size / 1e6:,.0f} MB to each site in a round; lower it, or take federation.aggregation = "
        '"product-svd"',
    )


def _generator_warnings(config: RunConfig, sites: tuple[SitePlan, ...], size: float) -> tuple[str, ...]:
    """Where noise drowns what a generator could learn."""
    if not sites[0].before:
        return ()
    (_, steps), settings = sites[0].before[0], config.synthesis
    batches, multipliers = [site.expected_batch for site in sites], [site.before[0][0] for site in sites]
    ratio = signal_over_noise(batches, multipliers, steps, size)
    if ratio >= 1:
        return ()
    return (
        f'synthesis.generator = "{settings.generator}": its {steps} steps have at most {ratio:.3g} times '
        "their noise in signal, so they hardly teach it anything; raise synthesis.epsilon_share, train fewer "
        'blocks or a smaller rank, or take "pool"',
    )


def _trade_off(
    config: RunConfig, sites: tuple[SitePlan, ...], ratios: Mapping[str, float]
) -> TradeOff | None:
    """Of the votes on bins; ``None`` where there are none."""
    multipliers = _multipliers(sites, SYNTHESIS)
    if not multipliers:
        return None
    return TradeOff(
        multipliers=multipliers,
        declared_units=sum(site.declared_units for site in sites),
        bins=config.synthesis.bins,
        neighbours=config.synthesis.neighbours,
        delta=config.delta,
        inflation=ratios[SYNTHESIS],
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
