# SPDX-License-Identifier: Apache-2.0
"""Does ``torch.compile`` pay on the frozen part: SmolLM2's lower 22 blocks without gradients, 8 x 128.

The default settings of ``torch.compile``, after its warm-up, against the same blocks without it,
interleaved; and the seconds until the first compiled result. On a CPU it needs a C++ compiler.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import torch

from fedpeft.adapters.targets import find_blocks
from fedpeft.training.batches import to_tensors
from simulations.benchmarks.shared.measure import interleaved, medians, ratio, timed
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import standard_task

PAIRS, TRAINED = 10, 8


def run(quick: bool = False) -> dict[str, object]:
    """The ratio of times, or why there is none."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))) and not torch.cuda.is_available():
        return {"skipped": "no C++ compiler on this machine"}
    task = standard_task(quick)
    model: Any = task.model()
    _, blocks = find_blocks(model)
    del blocks[-1 if quick else -TRAINED :]
    model.config.num_hidden_layers = len(blocks)
    ids = to_tensors(task.examples, task.backbone.device).input_ids
    compiled = torch.compile(model.model)

    def plain() -> None:
        with torch.no_grad():
            model.model(input_ids=ids, use_cache=False)

    def fast() -> None:
        with torch.no_grad():
            compiled(input_ids=ids, use_cache=False)

    first = timed(fast)["wall"]
    times = interleaved({"compiled": fast, "plain": plain}, 1 if quick else PAIRS)
    return {
        "compiled_to_plain": ratio(times, "compiled", "plain"),
        "median_seconds": medians(times),
        "first_seconds": first,
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    measure = "`torch.compile` on the frozen lower 22 blocks"
    if "skipped" in result:
        return [Row(measure, "without it", "", result["skipped"], None)]
    figure = f"{with_interval(result['compiled_to_plain'])}; first pass {result['first_seconds']:.0f} s"
    return [Row(measure, "without it", "", figure, None)]
