# SPDX-License-Identifier: Apache-2.0
"""Learning rate, rounds and rank chosen on public or synthetic rows, under the noise that each would have.

Whoever tries such settings on private data pays for every trial, or should. Here each setting is played on
rows that may be looked at, with the noise that it would ask for at the run's epsilon, one key after the
other. A value takes the place of the one before only where it is better by more than a standard error of the
difference over seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import RunConfig
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
    """

    key: str
    values: Callable[[Any], tuple[Any, ...]]

    def current(self, config: RunConfig) -> Any:
        """The value in ``config``."""
        section, _, name = self.key.partition(".")
        return getattr(getattr(config, section), name)

    def set(self, config: RunConfig, value: Any) -> RunConfig:
        """``config`` with another value."""
        section, _, name = self.key.partition(".")
        changed = getattr(config, section).model_copy(update={name: value})
        return config.model_copy(update={section: changed})


def _halves_and_doubles(value: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((max(1, value // 2), 2 * value)))


KNOBS: Final = (
    Knob("training.learning_rate", lambda rate: (rate / 4, rate / 2, rate * 2, rate * 4)),
    Knob("federation.rounds", _halves_and_doubles),
    Knob("adapter.rank", _halves_and_doubles),
)
"""In the order that they are chosen in."""


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
    total = 1 + sum(len(set(knob.values(knob.current(config))) - {knob.current(config)}) for knob in KNOBS)

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
    for knob in KNOBS:
        begun, own = config, knob.current(config)
        for value in knob.values(own):
            if value == own:
                continue
            changed = knob.set(begun, value)
            outcome = attempt(changed)
            tried.append(_entry(knob.key, value, outcome))
            if outcome.mean < best.mean and not is_level(best, outcome):
                best, config, chosen[knob.key] = outcome, changed, value
    return {
        "tried": tried,
        "chosen": chosen,
        "set": [f"{key}={value!r}" for key, value in chosen.items()],
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
