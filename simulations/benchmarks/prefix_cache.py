# SPDX-License-Identifier: Apache-2.0
"""The frozen-prefix cache: gradients of the top 8 of SmolLM2's 30 blocks, from a record's second visit on.

64 records of MedQuAD's lengths cut to 64 tokens (as the run that ships cuts them), and 16 of 256 tokens. The
first pass with an empty cache computes and keeps; then passes with the full cache and passes without one
alternate. Ratios of time, without over with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.targets import find_blocks
from fedpeft.data.prompts import Example
from fedpeft.settings import AdapterSettings, TrainingSettings
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from simulations.benchmarks.shared.lengths import draw, examples_of
from simulations.benchmarks.shared.measure import interleaved, medians, ratio, timed
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import Step, Task, standard_task

PAIRS, TOP = 6, 8
BAR = 3.0
_CASES = {"64": (64, 64), "256": (16, 256)}
"""By name: records, and the tokens they are cut to."""


def run(quick: bool = False) -> dict[str, object]:
    """By length: the ratio, what the first pass costs more, and what is kept."""
    task = standard_task(quick)
    top = 1 if quick else TOP
    cases = {"64": (3, 64)} if quick else _CASES
    return {"top": top, "cases": {name: _case(task, top, *case, quick) for name, case in cases.items()}}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    return [
        Row(
            f"top {result['top']} of 30 blocks, second and later passes, records of up to {name} tokens: "
            "times faster",
            "without the prefix cache",
            f">= {BAR:g}",
            f"{with_interval(case['without_to_with'])}; first pass {case['first_to_without']:.2f} of one "
            f"without; {case['kept_mb']:.0f} MB for {case['records']} records",
            case["without_to_with"]["wall"] >= BAR,
        )
        for name, case in result["cases"].items()
    ]


def _case(task: Task, top: int, count: int, tokens: int, quick: bool) -> dict[str, Any]:
    lengths = [
        (min(total, tokens), min(prompt, tokens - 1)) for total, prompt in draw("medquad", count, seed=0)
    ]
    records = examples_of(lengths, len(task.backbone.tokenizer))
    model = task.model()
    adapter = Adapter(model, AdapterSettings(rank=task.rank, layers=tuple(range(-top, 0))))
    store = StateStore(2**32)
    cache = PrefixCache(model, len(find_blocks(model)[1]) - top, store)
    without = _pass(adapter, records, PLAIN)
    with_cache = _pass(adapter, records, Execution(prefix=cache))
    without()
    first = timed(with_cache)
    times = interleaved({"without": without, "with": with_cache}, 1 if quick else PAIRS, warm_up=False)
    seconds = medians(times)
    return {
        "records": count,
        "tokens": sum(tokens for tokens, _ in lengths),
        "without_to_with": ratio(times, "without", "with"),
        "first_to_without": first["wall"] / seconds["without"],
        "median_seconds": seconds,
        "kept_mb": store.num_bytes / 1e6,
    }


def _pass(adapter: Adapter, records: Sequence[Example], how: Execution) -> Step:
    def step() -> None:
        adapter.load(adapter.zeros())
        for batch in plan_batches([(e,) for e in records], TrainingSettings().max_tokens):
            unit_gradients(adapter.model, adapter, batch, how)

    return step
