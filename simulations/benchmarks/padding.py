# SPDX-License-Identifier: Apache-2.0
"""Share of padding in the micro-batches of a logical batch, over lengths of MedQuAD and SST-2.

Logical batches are drawn at random and grouped by the rule of training, at the default ``max_tokens``. Beside
it: the same records in micro-batches of the same memory in the order they come, as a plain loader has them.
Medians over draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fedpeft.data.prompts import Example
from fedpeft.training.batches import plan_batches, token_budget
from simulations.benchmarks.shared.lengths import draw, examples_of
from simulations.benchmarks.shared.rows import Row

SOURCES = {"medquad": "MedQuAD, cut at 256", "sst2": "SST-2"}
BATCHES = (32, 64, 256, 1024)
DRAWS = 20
BAR, BARRED_FROM = 0.05, 256


def run(quick: bool = False) -> dict[str, object]:
    """Padded tokens over all tokens, by source and logical batch."""
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for source in SOURCES:
        shares[source] = {}
        for size in BATCHES[:2] if quick else BATCHES:
            draws = [examples_of(draw(source, size, seed), 2, seed) for seed in range(2 if quick else DRAWS)]
            ours = [_ours(examples) for examples in draws]
            shares[source][str(size)] = {
                "ours": float(np.median(ours)),
                "ours_worst": max(ours),
                "unsorted": float(np.median([_unsorted(examples) for examples in draws])),
            }
    return {"max_tokens": token_budget("auto", torch.device("cpu")), "share": shares}


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    out = []
    for source, by_size in result["share"].items():
        for size, share in by_size.items():
            barred = int(size) >= BARRED_FROM
            out.append(
                Row(
                    f"padding, {SOURCES[source]}, logical batch {size}",
                    f"order of arrival: {share['unsorted']:.1%}",
                    f"< {BAR:.0%}" if barred else "",
                    f"{share['ours']:.1%} (worst draw {share['ours_worst']:.1%})",
                    share["ours"] < BAR if barred else None,
                )
            )
    return out


def _ours(examples: Sequence[Example]) -> float:
    batches = plan_batches([(e,) for e in examples], token_budget("auto", torch.device("cpu")))
    return _share([chunk.examples for batch in batches for chunk in batch.chunks])


def _unsorted(examples: Sequence[Example]) -> float:
    size = token_budget("auto", torch.device("cpu")) // max(e.ids.size for e in examples)
    return _share([examples[i : i + size] for i in range(0, len(examples), size)])


def _share(chunks: Sequence[Sequence[Example]]) -> float:
    real = sum(e.ids.size for chunk in chunks for e in chunk)
    return 1 - real / sum(len(chunk) * max(e.ids.size for e in chunk) for chunk in chunks)
