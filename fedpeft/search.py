# SPDX-License-Identifier: Apache-2.0
"""The search for a time budget's sampling rate, number of steps, blocks and rank.

For each number of top blocks and of steps the sampling rate is the largest that the time allows: at equal
work few large batches carry up to twice the signal of many small ones. What remains is weighed by
:func:`merit`. The search ranks by a closed-form guess of the noise and tries only the best few with the
accountant, so it takes seconds. It is deterministic for a given speed and reads no data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from torch import nn

from fedpeft.adapters.adapter import plan_layout
from fedpeft.adapters.targets import find_targets
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.config import RunConfig
from fedpeft.cost import Lengths, Shapes, shapes_of
from fedpeft.dimensions import signal_over_noise
from fedpeft.errors import ConfigError
from fedpeft.guarantee import site_epsilons
from fedpeft.privacy.accountant import calibrate
from fedpeft.privacy.calibration import central_limit

FEWEST_STEPS: Final = 8
MEAN_GRADIENT: Final = 0.25
"""Assumed norm of the mean clipped gradient. At the zero adapter of SmolLM2, 96 records: 0.27 to 0.33 on
MedQuAD (gard), 0.85 to 0.96 on SST-2; it falls as a run goes on."""

_BLOCKS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_RANKS: Final = (2, 4, 8, 16, 32)
_STEPS: Final = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # times the fewest
_MOST_CALIBRATIONS: Final = 6  # of about a second each
_DIGITS: Final = 3  # of a sampling rate


@dataclass(frozen=True, slots=True)
class Budget:
    """What there is to spend, and what is assumed where data would tell.

    Attributes:
        minutes: of training, over all sites, on this machine.
        speed: operations a second, as ``fedpeft.cost`` counts them.
        lengths: of a mean record.
        fewest_steps: that a run needs to move at all.
    """

    minutes: float
    speed: float
    lengths: Lengths
    fewest_steps: int = FEWEST_STEPS

    def __post_init__(self) -> None:
        """Refuse what is no budget.

        Raises:
            ConfigError: as said.
        """
        if not 0 < self.minutes < math.inf:
            raise ConfigError(f"--minutes = {self.minutes:g}: must be a finite number above 0; change it")
        if self.fewest_steps < 1:
            raise ConfigError(f"--min-steps = {self.fewest_steps}: must be at least 1; raise it")

    def at(self, speed: float) -> Budget:
        """The same at the speed that was measured."""
        return replace(self, speed=speed)


@dataclass(frozen=True, slots=True)
class Choice:
    """One point of the search; ``blocks`` counts from the top."""

    rate: float
    steps: int
    blocks: int
    rank: int
    trainable: int


def merit(blocks: int, rank: int, steps: int, ratio: float) -> float:
    """How far a run may get, to compare settings by; a rule of thumb without a unit.

    ``blocks^(1/3) rank^(1/2) * steps / (steps + 8) * w / (1 + w)`` with w the square of ``MEAN_GRADIENT *
    ratio``.

    The first two factors stand for the norm of the mean gradient that the adapter can follow. Where
    ``MEAN_GRADIENT`` comes from, that of ``ffa`` grew 2.9 to 3.1 times from rank 1 to rank 8, 1.3 to 1.6
    times from one block to the top eight, 4.0 to 5.2 times to all thirty. The last factor is the share of a
    step's energy that is signal: with noise above signal every dimension costs, with signal well above noise
    more of it buys little; the best number of dimensions lies where the two are about equal, which is the
    dimension rule with c = ``MEAN_GRADIENT``^2. The factor between is what holds against ever fewer, larger
    steps. Trials on a few records gave these constants: they are a lead and no result.

    Args:
        blocks: trained ones.
        rank: of the adapter.
        steps: private steps of each site.
        ratio: signal over noise for a mean clipped gradient of norm 1.
    """
    energy = (MEAN_GRADIENT * ratio) ** 2
    reach = math.cbrt(blocks) * math.sqrt(rank)
    return reach * steps / (steps + FEWEST_STEPS) * energy / (1 + energy)


class Search:
    """Looks for the choice of most merit; holds what it has to know of the run.

    Attributes:
        shapes: of the backbone.
        model: on the meta device.
    """

    def __init__(self, config: RunConfig, budget: Budget) -> None:
        self.config, self.budget = config, budget
        self.model: nn.Module = backbone_skeleton(config.model)
        self.shapes: Shapes = shapes_of(self.model)
        units = list(config.declared_units.values())
        # How many records a declared unit has is not public; the most that train is.
        each = 1 if config.privacy.unit == "record" else config.privacy.max_records_per_unit
        self.units, self.records = units, [float(each * count) for count in units]
        training = config.training
        self.cache_bytes = 0.0 if training.prefix_cache == "off" else training.prefix_cache_mb * 2.0**20
        self.epsilons = [site_epsilons(config)[name] for name in config.declared_units]

    def best(self, tried: Callable[[int, int], None] | None = None) -> Choice:
        """The choice of most merit, among the best guesses tried with calibrated noise.

        Args:
            tried: hears how many of how many calibrations are done.

        Raises:
            UserError: the budget is too small for anything, or epsilon cannot be reached.
        """
        self._check_affordable()
        guessed = sorted(self._choices(), key=lambda choice: -self._merit(choice, self._guess(choice)))
        most = max(1, _MOST_CALIBRATIONS // len(set(self.epsilons)))
        schedules = list(dict.fromkeys((choice.rate, choice.steps) for choice in guessed))[:most]
        exact: dict[tuple[float, int], list[float]] = {}
        for done, (rate, steps) in enumerate(schedules):
            exact[rate, steps] = self._calibrated(rate, steps)
            if tried is not None:
                tried(done + 1, len(schedules))
        finalists = [choice for choice in guessed if (choice.rate, choice.steps) in exact]
        return max(finalists, key=lambda choice: self._merit(choice, exact[choice.rate, choice.steps]))

    def _choices(self) -> Iterator[Choice]:
        sizes = self._sizes()
        for blocks in sorted({blocks for blocks, _ in sizes}):
            for steps in self._step_counts():
                rate = self._largest_rate(steps, blocks)
                if rate is not None:
                    yield from (
                        Choice(rate, steps, blocks, rank, size)
                        for (count, rank), size in sizes.items()
                        if count == blocks
                    )

    def _sizes(self) -> dict[tuple[int, int], int]:
        """Trainable dimensions by blocks and rank."""
        num_blocks = len(self.shapes.blocks)
        settings = self.config.adapter.model_copy(update={"layers": "all"})
        narrowest = min(min(t.in_features, t.out_features) for t in find_targets(self.model, settings))
        least = max((site.rank or 1 for site in self.config.sites), default=1)  # no site may have more
        ranks = {rank for rank in _RANKS if least <= rank <= narrowest} | {settings.rank}
        tops = {blocks for blocks in _BLOCKS if blocks < num_blocks} | {num_blocks}
        found = {}
        for blocks in sorted(tops):
            for rank in sorted(ranks):
                update = {"layers": tuple(range(-blocks, 0)), "rank": rank}
                found[blocks, rank] = plan_layout(self.model, settings.model_copy(update=update)).size
        return found

    def _step_counts(self) -> list[int]:
        local = self.config.training.local_steps
        return sorted({local * math.ceil(self.budget.fewest_steps * times / local) for times in _STEPS})

    def seconds(self, rate: float, steps: int, lowest: int) -> float:
        """Of training all sites here, from block ``lowest`` up."""
        lengths, cache_bytes = self.budget.lengths, self.cache_bytes
        work = self.shapes.work(self.records, rate, steps, lowest, lengths, cache_bytes=cache_bytes)
        return work / self.budget.speed

    def _largest_rate(self, steps: int, blocks: int) -> float | None:
        """The largest rate of few digits that the time allows; ``None`` below one unit a site and step."""
        lowest, limit = len(self.shapes.blocks) - blocks, 60 * self.budget.minutes
        low, high = 0.0, 1.0
        if self.seconds(high, steps, lowest) > limit:
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (low, middle) if self.seconds(middle, steps, lowest) > limit else (middle, high)
            high = _rounded_down(low)
        return high if high >= self._least_rate else None

    @property
    def _least_rate(self) -> float:
        """One expected unit a site and step, on average over the sites."""
        return len(self.units) / sum(self.units)

    def _check_affordable(self) -> None:
        steps = self._step_counts()[0]
        # A rate is rounded down, so a little more than the least has to be affordable.
        least = self.seconds(min(1.0, 1.02 * self._least_rate), steps, len(self.shapes.blocks) - 1) / 60
        if least > self.budget.minutes:
            raise ConfigError(
                f"--minutes = {self.budget.minutes:g}: must be at least {_rounded_up(least)} on this "
                f"machine, for {steps} steps of one unit a site through the top block; give more minutes, or "
                "lower --min-steps, training.local_steps or data.max_length"
            )

    def _paid(self, steps: int) -> int:
        return steps + self.config.privacy.crash_reserve * self.config.training.local_steps

    def _guess(self, choice: Choice) -> list[float]:
        delta, paid = self.config.delta, self._paid(choice.steps)
        return [central_limit(epsilon, delta, choice.rate, paid) for epsilon in self.epsilons]

    def _calibrated(self, rate: float, steps: int) -> list[float]:
        delta, paid = self.config.delta, self._paid(steps)
        return [calibrate(epsilon, delta, rate, paid) for epsilon in self.epsilons]

    def _merit(self, choice: Choice, multipliers: Sequence[float]) -> float:
        batches = [choice.rate * count for count in self.units]
        ratio = signal_over_noise(batches, multipliers, choice.steps, choice.trainable)
        return merit(choice.blocks, choice.rank, choice.steps, ratio)


def _rounded_down(rate: float) -> float:
    if rate <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(rate)) + 1 - _DIGITS)
    return float(f"{math.floor(rate / unit) * unit:.{_DIGITS}g}")


def _rounded_up(minutes: float) -> str:
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return f"{math.ceil(minutes / unit) * unit:.2g}"
