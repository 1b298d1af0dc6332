# SPDX-License-Identifier: Apache-2.0
"""The arithmetic that a training step needs, and what the machine can do at best.

A token that is multiplied with a frozen matrix of N elements costs 2 N operations forwards and, where a
gradient must pass, 2 N backwards. Nothing else needs doing but attention, and the head on the rows of
response tokens. Work on padding, on rows without loss, on norms, on the adapter and on the privacy of the
step is not counted: it is what the floor does without.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from fedpeft.adapters.targets import find_targets
from fedpeft.data.prompts import Example
from fedpeft.settings import AdapterSettings

_SIZE = 2048


def needed_operations(
    model: nn.Module, examples: Sequence[Example], lowest_trained: int, prefix_kept: bool = False
) -> float:
    """Floating-point operations (a multiplication and an addition are two) of one step's floor.

    Args:
        model: a decoder of transformers, without an adapter.
        examples: of the step; every token is real.
        lowest_trained: index of the lowest trained block: 4 N a token from there, 2 N below.
        prefix_kept: whether what the blocks below make is known already, and costs nothing.
    """
    config = model.config
    targets = find_targets(model, AdapterSettings())
    in_block = sum(t.in_features * t.out_features for t in targets if t.block == 0)
    num_blocks, vocabulary, hidden = config.num_hidden_layers, config.vocab_size, config.hidden_size
    tokens = sum(e.ids.size for e in examples)
    rows = sum(e.ids.size - e.num_prompt for e in examples)
    # Scores and values: 2 products forwards of T x T/2 (causal) x width, twice that backwards.
    attention = sum(2.0 * e.ids.size**2 for e in examples) * _attention_width(config)
    above, below = num_blocks - lowest_trained, 0 if prefix_kept else lowest_trained
    matrices = in_block * tokens * (4.0 * above + 2.0 * below)
    return matrices + attention * (3.0 * above + below) + 4.0 * vocabulary * hidden * rows


def best_rate(device: torch.device, repeats: int = 5) -> float:
    """Operations a second of the best of ``repeats`` float32 products of two 2048 x 2048 matrices."""
    a, b = (torch.randn(_SIZE, _SIZE, device=device) for _ in range(2))
    out = torch.empty_like(a)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(a, b, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * _SIZE**3 / best


def _attention_width(config: object) -> int:
    heads = int(config.num_attention_heads)  # type: ignore[attr-defined]
    head = getattr(config, "head_dim", None) or int(config.hidden_size) // heads  # type: ignore[attr-defined]
    return heads * int(head)
