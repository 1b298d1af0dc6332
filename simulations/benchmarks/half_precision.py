# SPDX-License-Identifier: Apache-2.0
"""Private gradients in bfloat16 on a CPU: against float32, and with torch's fused attention instead.

SmolLM2's top four blocks at rank 2 on 2,048 tokens, in examples of 32 to 251 tokens; states of the
frozen blocks are kept. Ratios: the other's time over that of bfloat16 as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.targets import find_blocks
from fedpeft.backbone import attention
from fedpeft.backbone.loading import load_backbone
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing import dummy_examples, tiny_backbone
from fedpeft.training.batches import UnitBatch, plan_batches
from fedpeft.training.execution import PLAIN
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from simulations.benchmarks.shared.measure import interleaved, ratio
from simulations.benchmarks.shared.rows import Row, with_interval
from simulations.benchmarks.shared.steps import Step

PAIRS, TOKENS, TOP = 4, 2048, 4
LENGTHS = (32, 37, 67, 131, 251)


def run(quick: bool = False) -> dict[str, object]:
    """By length: float32 over bfloat16, and fused over plain attention."""
    lengths, pairs = (LENGTHS[:1], 1) if quick else (LENGTHS, PAIRS)
    found: dict[str, object] = {}
    for length in lengths:
        half, full = _step("bfloat16", length, quick), _step("float32", length, quick)
        steps = {"bfloat16": half, "float32": full, "fused": partial(_fused, half)}
        times = interleaved(steps, pairs)
        found[str(length)] = {
            "float32": ratio(times, "float32", "bfloat16"),
            "fused": ratio(times, "fused", "bfloat16"),
        }
    return {"by_length": found}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    return [
        Row(
            f"private gradients of the top {TOP} blocks in bfloat16, {length} tokens each: times faster",
            "float32; fused attention",
            "",
            f"{with_interval(ratios['float32'])}; {with_interval(ratios['fused'])}",
            None,
        )
        for length, ratios in result["by_length"].items()
    ]


def _step(dtype: str, length: int, quick: bool) -> Step:
    if quick:
        backbone = tiny_backbone(dtype=getattr(torch, dtype))
        attention.suit_attention(backbone.model, backbone.device)
    else:
        backbone = load_backbone(
            ModelSettings.model_validate({"dtype": dtype, "device": "cpu"}), shared=False
        )
    model, vocabulary = backbone.model, len(backbone.tokenizer)
    lowest = len(find_blocks(model)[1]) - (1 if quick else TOP)
    adapter = Adapter(
        model, AdapterSettings(rank=2, layers=tuple(range(lowest, lowest + (1 if quick else TOP))))
    )
    examples = dummy_examples([length] * (TOKENS // length), vocabulary)
    batches: list[UnitBatch] = list(plan_batches([(example,) for example in examples], TOKENS // 2))
    how = replace(PLAIN, prefix=PrefixCache(model, lowest, StateStore(1 << 30)))
    return lambda: [unit_gradients(model, adapter, batch, how) for batch in batches]


def _fused(step: Step) -> None:
    longest = attention.LONGEST_PLAIN
    attention.LONGEST_PLAIN = 0  # type: ignore[misc]
    try:
        step()
    finally:
        attention.LONGEST_PLAIN = longest  # type: ignore[misc]
