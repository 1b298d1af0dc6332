# SPDX-License-Identifier: Apache-2.0
"""The frozen-prefix cache: gradients of the top 8 of SmolLM2's 30 blocks, from a record's second visit on.

64 records of MedQuAD's lengths cut to 64 tokens (as the run that ships cuts them), 16 of 256 tokens, and 128
of SST-2, where the response is a word and the end of the turn. The first pass with an empty cache computes
and keeps; then passes with the full cache and passes without one alternate. Ratios: time without over with.

Beside each stands the ratio of the operations that the two need. It is a ceiling: trained blocks cost 4
operations a weight and token, blocks below them 2, and the head, as large as eight blocks, is computed for
every response token either way. Skipping 22 of 30 blocks can therefore not give more than 76 / 32 = 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.targets import find_blocks
from fedpeft.data.prompts import Example
from fedpeft.settings import AdapterSettings
from fedpeft.training.batches import plan_batches, token_budget
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from simulations.benchmarks.shared.arithmetic import needed_operations
from simulations.benchmarks.shared.lengths import draw, examples_of
from simulations.benchmarks.shared.measure import interleaved, medians, ratio, timed
from simulations.benchmarks.shared.operators import operators_of, table_of
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import Step, Task, standard_task

PAIRS, TOP = 6, 8
BAR = 3.0
_CASES = {
    "MedQuAD, cut at 64": ("medquad", 64, 64),
    "MedQuAD, cut at 256": ("medquad", 16, 256),
    "SST-2": ("sst2", 128, 64),
}
"""By name: whose lengths, how many records, and the tokens they are cut to."""


def run(quick: bool = False) -> dict[str, object]:
    """By length: the ratio, what the first pass costs more, and what is kept."""
    task = standard_task(quick)
    top = 1 if quick else TOP
    cases = {"MedQuAD, cut at 64": ("medquad", 3, 64)} if quick else _CASES
    return {"top": top, "cases": {name: _case(task, top, *case, quick) for name, case in cases.items()}}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    return [
        Row(
            f"top {result['top']} of 30 blocks, second and later passes, {name}: times faster",
            "without the prefix cache",
            f">= {BAR:g}",
            f"{with_interval(case['without_to_with'])}; by operations at most {case['ceiling']:.2f}; first "
            f"pass {case['first_to_without']:.2f} of one without; {case['kept_mb']:.0f} MB for "
            f"{case['records']} records",
            case["without_to_with"]["wall"] >= BAR,
        )
        for name, case in result["cases"].items()
    ]


def details(result: Mapping[str, Any]) -> str:
    """What the passes with the cache spend their time on."""
    parts = []
    for name, case in result["cases"].items():
        found = case["with"]
        parts.append(
            f"With the cache, {name}: matrix products and attention are {found['share_of_products']:.1%} of "
            f"{found['profiled_ms']:,.0f} ms.\n\n{table_of(found)}"
        )
    return "\n\n".join(parts)


def _case(task: Task, top: int, source: str, count: int, tokens: int, quick: bool) -> dict[str, Any]:
    lengths = [(min(total, tokens), min(prompt, tokens - 1)) for total, prompt in draw(source, count, seed=0)]
    records = examples_of(lengths, len(task.backbone.tokenizer))
    model = task.model()
    lowest = len(find_blocks(model)[1]) - top
    needed = [needed_operations(model, records, lowest, prefix_kept=kept) for kept in (False, True)]
    adapter = Adapter(model, AdapterSettings(rank=task.rank, layers=tuple(range(-top, 0))))
    store = StateStore(2**32)
    cache = PrefixCache(model, lowest, store)
    without = _pass(adapter, records, PLAIN)
    with_cache = _pass(adapter, records, Execution(prefix=cache))
    without()
    first = timed(with_cache)
    times = interleaved({"without": without, "with": with_cache}, 1 if quick else PAIRS, warm_up=False)
    seconds = medians(times)
    return {
        "records": count,
        "tokens": sum(tokens for tokens, _ in lengths),
        "ceiling": needed[0] / needed[1],
        "without_to_with": ratio(times, "without", "with"),
        "first_to_without": first["wall"] / seconds["without"],
        "median_seconds": seconds,
        "with": operators_of(with_cache),
        "kept_mb": store.num_bytes / 1e6,
    }


def _pass(adapter: Adapter, records: Sequence[Example], how: Execution) -> Step:
    def step() -> None:
        adapter.load(adapter.zeros())
        for batch in plan_batches([(e,) for e in records], token_budget("auto", torch.device("cpu"))):
            unit_gradients(adapter.model, adapter, batch, how)

    return step
