# SPDX-License-Identifier: Apache-2.0
"""Settings for a time budget, beside those that there are, and how to take them over.

Nothing here touches what a guarantee rests on: the noise of whatever is proposed is calibrated like that of
any run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fedpeft.config import RunConfig
from fedpeft.plan import Plan, make_plan
from fedpeft.search import Budget, Search, merit
from fedpeft.types import JsonDict

LOWEST_MULTIPLIER: Final = 0.8
"""Below about this, epsilon grows faster than noise falls: the budget buys little."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What settings lead to.

    Attributes:
        config: the settings.
        plan: of the run, calibrated.
        minutes: of training, expected on this machine; evaluation and loading come on top.
        steps: private steps of each site.
        blocks: trained ones.
        merit: see :func:`fedpeft.search.merit`.
    """

    config: RunConfig
    plan: Plan
    minutes: float
    steps: int
    blocks: int
    merit: float

    def to_json(self) -> JsonDict:
        """The figures for machines."""
        return {
            "minutes": self.minutes,
            "sampling_rate": self.config.training.sampling_rate,
            "steps": self.steps,
            "rounds": self.config.federation.rounds,
            "local_steps": self.config.training.local_steps,
            "blocks": self.blocks,
            "rank": self.config.adapter.rank,
            "trainable_parameters": self.plan.layout.size,
            "noise_multiplier": max(site.noise_multiplier for site in self.plan.sites),
            "expected_batch": sum(site.expected_batch for site in self.plan.sites),
            "signal_over_noise": self.plan.signal_over_noise,
            "merit": self.merit,
            "warnings": list(self.plan.warnings),
        }


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings for a budget, beside those that there are."""

    budget: Budget
    proposed: Outlook
    current: Outlook

    @property
    def overrides(self) -> tuple[str, ...]:
        """What ``--set`` takes, each ``KEY=VALUE``."""
        config = self.proposed.config
        layers = config.adapter.layers
        shown = '"all"' if layers == "all" else str(list(layers))
        return (
            f"training.sampling_rate={config.training.sampling_rate!r}",
            f"federation.rounds={config.federation.rounds}",
            f"adapter.layers={shown}",
            f"adapter.rank={config.adapter.rank}",
        )

    @property
    def toml(self) -> str:
        """The same as lines of the run's TOML."""
        lines: list[str] = []
        for override in self.overrides:
            section, _, line = override.partition(".")
            key, _, value = line.partition("=")
            heading = f"[{section}]"
            if heading not in lines:
                lines.append(heading)
            lines.append(f"{key} = {value}")
        return "\n".join(lines)

    @property
    def new_warnings(self) -> tuple[str, ...]:
        """Warnings that the proposed settings have and the current ones have not."""
        known = self.current.plan.warnings
        return tuple(warning for warning in self.proposed.plan.warnings if warning not in known)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before taking the proposal, one line each."""
        lowest = min(site.noise_multiplier for site in self.proposed.plan.sites)
        if lowest >= LOWEST_MULTIPLIER:
            return ()
        return (
            f"noise multiplier {lowest:.3g} is below {LOWEST_MULTIPLIER}, where epsilon buys little: a "
            "smaller privacy.epsilon costs hardly any signal, and more minutes buy more of it",
        )

    def to_json(self) -> JsonDict:
        """The proposal for machines."""
        return {
            "minutes": self.budget.minutes,
            "speed": self.budget.speed,
            "mean_length": self.budget.lengths.record,
            "mean_response": self.budget.lengths.response,
            "min_steps": self.budget.fewest_steps,
            "proposed": self.proposed.to_json(),
            "current": self.current.to_json(),
            "set": list(self.overrides),
            "notes": list(self.notes),
        }


def propose(config: RunConfig, budget: Budget, tried: Callable[[int, int], None] | None = None) -> Proposal:
    """Search sampling rate, steps, blocks and rank; everything else stays as configured.

    Args:
        config: of the run.
        budget: to keep within.
        tried: hears how many of how many calibrations are done.

    Raises:
        UserError: the budget is too small for anything, or the backbone or epsilon cannot be planned for.
    """
    search = Search(config, budget)
    chosen = search.best(tried)
    num_blocks = len(search.shapes.blocks)
    layers = "all" if chosen.blocks == num_blocks else tuple(range(-chosen.blocks, 0))
    rounds = chosen.steps // config.training.local_steps
    proposed = config.model_copy(
        update={
            "adapter": config.adapter.model_copy(update={"layers": layers, "rank": chosen.rank}),
            "training": config.training.model_copy(update={"sampling_rate": chosen.rate}),
            "federation": config.federation.model_copy(update={"rounds": rounds}),
        }
    )
    return Proposal(budget, _outlook(search, proposed), _outlook(search, config))


def _outlook(search: Search, config: RunConfig) -> Outlook:
    plan = make_plan(config)
    trained = plan.layout.blocks
    steps = config.federation.rounds * config.training.local_steps
    seconds = search.seconds(config.training.sampling_rate, steps, min(trained))
    figure = merit(len(trained), config.adapter.rank, steps, plan.signal_over_noise)
    return Outlook(config, plan, seconds / 60, steps, len(trained), figure)
