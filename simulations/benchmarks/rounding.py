# SPDX-License-Identifier: Apache-2.0
"""How far one more unit moves the *other* units' clipped gradients, by rounding in another micro-batch.

Tiny Llama (4 blocks, hidden 128, r = 8), 64 units of 8 to 59 tokens, and one more that is short, about as
long or much longer, in small and in large micro-batches, with responses of half their tokens and of one. In
exact arithmetic the others do not move; the sensitivity of the whole sum is 1. Largest of three draws of the
data and all of these. SmolLM2 in float32 likewise, all 30 blocks: 24 units, one draw, a short and a long one
more, the micro-batches of a CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.data.prompts import Example
from fedpeft.privacy.clipping import ROUNDING_SLACK, clip_factors
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing import dummy_examples, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from simulations.benchmarks.shared.rows import Row

UNITS, DRAWS = 64, 3
EXTRA_TOKENS, MAX_TOKENS = (6, 61, 200), (512, 8192)
LARGE = (24, ((0, 6, 1024, False), (0, 200, 1024, False), (0, 6, 1024, True), (0, 200, 1024, True)))


def run(quick: bool = False) -> dict[str, object]:
    """By dtype of the backbone, in units of the sensitivity; ``quick``: float32 and one draw."""
    dtypes = (torch.float32,) if quick else (torch.float32, torch.bfloat16, torch.float16)
    draws = 1 if quick else DRAWS
    tiny = {
        str(dtype).removeprefix("torch."): _worst(
            tiny_backbone(dtype=dtype, num_blocks=4, hidden=128),
            UNITS,
            itertools.product(range(draws), EXTRA_TOKENS, MAX_TOKENS, (False, True)),
        )
        for dtype in dtypes
    }
    large = None if quick else _worst(load_backbone(ModelSettings(device="cpu")), *LARGE)
    return {"others_moved_by": tiny, "smollm2_moved_by": large}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    moved = result["others_moved_by"]
    large = result["smollm2_moved_by"]
    others = ", ".join(f"{name} {value:.1e}" for name, value in moved.items() if name != "float32")
    return [
        Row(
            "how far one unit moves the others by rounding (sensitivity 1), tiny backbone, float32",
            others,
            f"<= {ROUNDING_SLACK:.1e}",
            f"{moved['float32']:.1e}",
            moved["float32"] <= ROUNDING_SLACK,
        ),
        *(
            [
                Row(
                    "the same, SmolLM2",
                    "",
                    f"<= {ROUNDING_SLACK:.1e}",
                    f"{large:.1e}",
                    large <= ROUNDING_SLACK,
                )
            ]
            if large is not None
            else []
        ),
    ]


def _worst(backbone: Backbone, units: int, cases: Iterable[tuple[int, int, int, bool]]) -> float:
    adapter = Adapter(backbone.model, AdapterSettings(rank=8))
    try:
        return max(_moved(adapter, units, *case) for case in cases)
    finally:
        adapter.detach()


def _moved(
    adapter: Adapter, units: int, seed: int, extra_tokens: int, max_tokens: int, labels: bool
) -> float:
    random = np.random.default_rng(seed)
    adapter.load((0.02 * random.standard_normal(adapter.layout.size)).astype(np.float32))
    others = dummy_examples(random.integers(8, 60, units).tolist(), 300, seed)
    extra = dummy_examples([extra_tokens], 300, seed + 1000)
    if labels:
        others, extra = ([replace(e, num_prompt=e.ids.size - 1) for e in some] for some in (others, extra))
    together, without, alone = (
        _clipped_sum(adapter, examples, max_tokens) for examples in (others + extra, others, extra)
    )
    return float(np.linalg.norm(together - without - alone))


def _clipped_sum(adapter: Adapter, examples: list[Example], max_tokens: int) -> np.ndarray:
    total = np.zeros(adapter.layout.size)
    for batch in plan_batches([(e,) for e in examples], max_tokens):
        gradients = unit_gradients(adapter.model, adapter, batch)
        factors = clip_factors(gradients, [1.0] * len(gradients), "flat")
        total += np.concatenate([(factors @ g.flatten(1).double()).numpy() for g in gradients])
    return total
