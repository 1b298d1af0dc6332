# SPDX-License-Identifier: Apache-2.0
"""Choosing blocks by DP-SelFT: SmolLM2's 30 blocks, 64 sets of them, 512 pairs of SST-2's lengths.

Frozen weights in bfloat16, as in the experiments on the choice of blocks.

The whole choice once, with the default settings, under the noise of multiplier 2 at an expected batch of 700.
Then a sample of its trials with and without kept states of the frozen blocks, in pairs that alternate; and a
training step of the top quarter of the blocks against one of all. Rows are random tokens: this is about time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any

from fedpeft.adapters.targets import find_blocks
from fedpeft.data.prompts import Example
from fedpeft.selection.base import Inputs, find
from fedpeft.selection.candidates import make_candidates
from fedpeft.selection.regime import Regime
from fedpeft.selection.trials import Effort, Trials
from fedpeft.settings import AdapterSettings, FederationSettings
from fedpeft.stage_settings import SelectionSettings
from simulations.benchmarks.shared.lengths import draw, examples_of
from simulations.benchmarks.shared.measure import interleaved, ratio
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import Step, Task, standard_task

ROWS, CANDIDATES, SAMPLE, PAIRS = 512, 64, 8, 3
MINUTES_BAR, CACHE_BAR = 30.0, 3.0
_NOISE = 2.0 / 700


def run(quick: bool = False) -> dict[str, object]:
    """Minutes of the choice, ratios of time."""
    task = standard_task(quick, "bfloat16")
    settings = SelectionSettings(
        selector="selft", candidates=4 if quick else CANDIDATES, **({"steps": 2, "seeds": 2} if quick else {})
    )
    trials = _trials(task, settings, quick)
    begin = perf_counter()
    found = find("selft").choose(Inputs(trials.blocks, settings, trials, _tell))
    seconds = perf_counter() - begin
    return {
        "blocks": len(trials.blocks),
        "candidates": settings.candidates,
        "rows": _num_rows(quick),
        "minutes": seconds / 60,
        "trainings": trials.num_runs,
        "layers": list(found.layers),
        "why": found.why,
        "cache": _cache(task, settings, quick),
        "step": _step(task, settings, quick),
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    what = f"{result['blocks']} blocks, {result['candidates']} sets, {result['rows']} pairs"
    return [
        Row(
            f"DP-SelFT's choice over {what}: minutes",
            "",
            f"< {MINUTES_BAR:g}",
            f"{result['minutes']:.1f}, {result['trainings']} trainings",
            result["minutes"] < MINUTES_BAR,
        ),
        Row(
            "first trials of a sample of these sets: times faster",
            "without kept states of the frozen blocks",
            f">= {CACHE_BAR:g}",
            with_interval(result["cache"]),
            result["cache"]["wall"] >= CACHE_BAR,
        ),
        Row(
            "a step that trains the top quarter of the blocks: times faster",
            "a step that trains all",
            "",
            with_interval(result["step"]),
            None,
        ),
    ]


def _tell(what: str, done: int, total: int) -> None:
    if done % 10 == 0 or done == total:
        print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


def _num_rows(quick: bool) -> int:
    return 16 if quick else ROWS


def _trials(task: Task, settings: SelectionSettings, quick: bool, *, keep_states: bool = True) -> Trials:
    some = _examples(task, quick)
    cut = round(len(some) * (1 - settings.validation))
    regime = Regime((_NOISE,) * 60, (1.0,) * 60, 1, "automatic", 1.0, FederationSettings())
    return Trials(
        task.model(),
        AdapterSettings(rank=task.rank),
        regime,
        some[:cut],
        some[cut:],
        batch=settings.batch,
        perturbations=settings.perturbations,
        seed=0,
        keep_states=keep_states,
    )


def _cache(task: Task, settings: SelectionSettings, quick: bool) -> dict[str, float]:
    """Of first trials, sets evenly out of all, lowest block first as the choice has them."""
    num_blocks = len(find_blocks(task.backbone.model)[1])
    sets = make_candidates(range(num_blocks), [0.0] * num_blocks, settings.candidates, 0)
    chosen = sorted(sets[:: max(1, len(sets) // SAMPLE)], key=lambda c: (c.lowest, c.layers))
    effort = Effort(max(1, settings.steps // 4), 1, 16)

    def attempt(keep_states: bool) -> Step:
        return lambda: _run_all(
            _trials(task, settings, quick, keep_states=keep_states), [c.layers for c in chosen], effort
        )

    steps = {"without": attempt(False), "with": attempt(True)}
    return ratio(interleaved(steps, 1 if quick else PAIRS, warm_up=False), "without", "with")


def _run_all(trials: Trials, sets: Sequence[tuple[int, ...]], effort: Effort) -> None:
    for layers in sets:
        trials.run(layers, effort)


def _step(task: Task, settings: SelectionSettings, quick: bool) -> dict[str, float]:
    """Without kept states, so that what is gained is the backward pass alone."""
    count = len(find_blocks(task.backbone.model)[1])
    sets = {"all": range(count), "top": range(count - max(1, count // 4), count)}
    some = _examples(task, quick)[: settings.batch]
    with ExitStack() as stack:
        steps = {}
        for name, layers in sets.items():
            trials = _trials(task, settings, quick, keep_states=False)
            descent = stack.enter_context(trials.descent(tuple(layers), trials.regime))
            steps[name] = partial(descent.mean_gradient, some, descent.adapter.zeros())
        return ratio(interleaved(steps, 1 if quick else 2 * PAIRS), "all", "top")


def _examples(task: Task, quick: bool) -> list[Example]:
    return examples_of(draw("sst2", _num_rows(quick), seed=0), len(task.backbone.tokenizer))
