# SPDX-License-Identifier: Apache-2.0
"""Learning rate, rounds, rank and allocation, chosen on public or synthetic rows under each one's noise.

Whoever tries such settings on private data pays for every trial, or should. Here each setting is played on
rows that may be looked at, with the noise that it would ask for at the run's epsilon, one key after the
other. A value takes the place of the one before only where it is better by more than a standard error of the
difference over seeds. An allocation is tried as it begins from statistics of the rows
(``selection.allocation_start``), which is chosen with it: what releases would teach it later is not known.
Where statistics come from a file already, none is tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from time import monotonic
from typing import Any, Final

from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import RunConfig, option_names
from fedpeft.forecast import blocks_of, make_trials
from fedpeft.layer_choice import SplitRows, regime_of
from fedpeft.plan import make_plan
from fedpeft.selection.base import Progress
from fedpeft.selection.selft import is_level
from fedpeft.selection.trials import Effort, Outcome
from fedpeft.types import JsonDict

_MOST_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Knob:
    """A key and the values that are tried for it.

    Attributes:
        key: dotted, as ``--set`` has it.
        values: from the current one; may repeat it.
        also: other keys that go with a value.
    """

    key: str
    values: Callable[[Any], tuple[Any, ...]]
    also: Callable[[Any], Mapping[str, Any]] = lambda _value: {}

    def changes(self, config: RunConfig) -> tuple[Mapping[str, Any], ...]:
        """What to try instead of ``config``: keys and their values, those of ``key`` first."""
        own = attrgetter(self.key)(config)
        made = ({self.key: value, **self.also(value)} for value in self.values(own))
        return tuple(change for change in made if changed(config, change) != config)


def changed(config: RunConfig, change: Mapping[str, Any]) -> RunConfig:
    """``config`` with other values of these keys."""
    for key, value in change.items():
        section, _, name = key.partition(".")
        made = getattr(config, section).model_copy(update={name: value})
        config = config.model_copy(update={section: made})
    return config


def _halves_and_doubles(value: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((max(1, value // 2), 2 * value)))


ALLOCATION: Final = "privacy.allocation"
RANK: Final = "adapter.rank"

KNOBS: Final = (
    Knob("training.learning_rate", lambda rate: (rate / 4, rate / 2, rate * 2, rate * 4)),
    Knob("federation.rounds", _halves_and_doubles),
    Knob(RANK, _halves_and_doubles),
    Knob(
        ALLOCATION,
        lambda _rule: option_names(ALLOCATION),
        lambda rule: {"selection.allocation_start": rule != "uniform"},
    ),
)
"""In the order that they are chosen in."""


def knobs_of(config: RunConfig) -> list[Knob]:
    """Those that a run leaves open: a file of statistics fixes the allocation, sites' ranks the rank."""
    fixed = {ALLOCATION} if config.privacy.allocation_start is not None else set()
    fixed |= {RANK} if any(site.rank is not None for site in config.sites) else set()
    return [knob for knob in KNOBS if knob.key not in fixed]


def tune(
    config: RunConfig,
    rows: SplitRows,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
) -> JsonDict:
    """Choose each key of ``KNOBS`` in turn.

    Args:
        config: to begin with.
        rows: public or synthetic.
        progress: hears of trials.
        backbone: default: loaded now.

    Returns:
        For machines: what was tried, and ``set``, what ``--set`` takes.

    Raises:
        UserError: backbone or rows cannot be used.
    """
    began = monotonic()
    backbone = backbone or load_backbone(config.model)
    tried: list[JsonDict] = []
    knobs = knobs_of(config)
    total = 1 + sum(len(knob.changes(config)) for knob in knobs)

    def attempt(some: RunConfig) -> Outcome:
        plan = make_plan(some)
        regime = regime_of(some, plan)
        trials = make_trials(some, regime, rows, backbone, some.selection.perturbations)
        outcome = trials.run(blocks_of(plan), Effort(regime.steps, some.selection.seeds, _MOST_ROWS))
        if progress is not None:
            progress("tune: settings tried", len(tried) + 1, max(total, len(tried) + 1))
        return outcome

    best = attempt(config)
    tried.append(_entry("as configured", None, best))
    chosen: dict[str, Any] = {}
    for knob in knobs:
        begun = config
        for change in knob.changes(begun):
            some = changed(begun, change)
            outcome = attempt(some)
            tried.append(_entry(knob.key, change[knob.key], outcome))
            if outcome.mean < best.mean and not is_level(best, outcome):
                best, config = outcome, some
                chosen |= change
    return {
        "tried": tried,
        "chosen": chosen,
        "set": [f"{key}={json.dumps(value)}" for key, value in chosen.items()],
        "rows": rows.to_json(),
        "seconds": monotonic() - began,
        "privacy": "no private record was looked at; nothing was charged",
    }


def _entry(key: str, value: Any, outcome: Outcome) -> JsonDict:
    return {
        "key": key,
        "value": value,
        "loss": outcome.mean,
        "standard_error": outcome.standard_error,
        "losses": list(outcome.losses),
        "trainable": outcome.trainable,
    }
