# SPDX-License-Identifier: Apache-2.0
"""The last block only where its output is read.

Of what the last block puts out, only the positions that predict a response token reach the loss. Its keys and
values are needed of every token, all its other products at those positions alone. Where a response is one
token, as a label is, next to nothing of the block is left.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear
from fedpeft.adapters.frozen import is_linear
from fedpeft.adapters.targets import find_blocks

TYPES: Final = frozenset({
    "gemma", "gemma2", "gpt2", "gpt_neox", "granite", "llama", "mistral", "olmo2", "phi", "phi3", "qwen2",
    "qwen3", "starcoder2",
})  # fmt: skip
"""Backbones whose last block was compared with the whole one. Any other is computed whole: a name alone does
not say that no later token needs what a module makes of an earlier one (convolutions, recurrences)."""

_AFTER_KEYS: Final = frozenset({
    "q_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "gate_up_proj",
    "c_proj", "c_fc", "dense", "dense_h_to_4h", "dense_4h_to_h",
})  # fmt: skip
"""Their linear modules, by name, of which no other position sees the output."""

_WORTH_IT: Final = 0.75  # share of positions from which picking them costs more than it saves


@contextmanager
def last_block_at(model: nn.Module, rows: Tensor, shape: torch.Size) -> Iterator[None]:
    """Within the context the last block is right at ``rows``, and anything finite elsewhere.

    Args:
        model: a causal language model of transformers, an adapter attached or not.
        rows: ``(R,)`` int64, ascending, indices into the flattened ``(n * T)`` positions.
        shape: ``(n, T)`` of the batch.
    """
    places = _Places(rows, shape)
    modules = _modules(model) if places.share < _WORTH_IT else []
    try:
        for module in modules:
            module.forward = functools.partial(_only_at, places, module.forward)
        yield
    finally:
        for module in modules:
            del module.forward


class _Places:
    """Chosen positions as ``(n, r)``, r those of the example that has most; the rest of it is filling."""

    def __init__(self, rows: Tensor, shape: torch.Size) -> None:
        num_examples, length = shape
        owner = rows // length
        counts = torch.bincount(owner, minlength=num_examples)
        widest = max(1, int(counts.max()))
        slot = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[owner]
        self.share = widest / length
        self._rows = rows
        self._picked = owner * widest + slot
        self._index = rows.new_zeros(num_examples, widest).index_put_((owner, slot), rows % length)

    def pick(self, x: Tensor) -> Tensor:
        """``(n, T, f)`` to ``(n, r, f)``."""
        return x.gather(1, self._index[:, :, None].expand(-1, -1, x.shape[2]))

    def spread(self, y: Tensor, like: Tensor) -> Tensor:
        """``(n, r, f)`` to ``(n, T, f)``, zero elsewhere; nothing of the filling gets there, or back."""
        out = y.new_zeros(like.shape[0] * like.shape[1], y.shape[2])
        chosen = y.flatten(0, 1).index_select(0, self._picked)
        return out.index_copy(0, self._rows, chosen).view(*like.shape[:2], -1)


def _only_at(places: _Places, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return places.spread(forward(places.pick(x)), x) if x.dim() == 3 else forward(x)


def _modules(model: nn.Module) -> list[nn.Module]:
    config: Any = model.config
    if config.get_text_config().model_type not in TYPES:
        return []
    last = find_blocks(model)[1][-1]
    named = ((name.rpartition(".")[2], module) for name, module in last.named_modules())
    return [
        module
        for name, module in named
        if name in _AFTER_KEYS and (is_linear(module) or isinstance(module, AdaptedLinear))
    ]
