# SPDX-License-Identifier: Apache-2.0
"""The output head on chosen rows only.

Most tokens of a batch are prompt or padding and need no logits, and the vocabulary is large. A hook in
front of the head keeps the rows that count, so that whatever a backbone does after its head (Gemma2's
soft-cap) still happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def head_rows(model: nn.Module, rows: Tensor) -> Iterator[None]:
    """Within the context the model's logits have shape ``(1, num_rows, vocabulary)``.

    Args:
        model: a causal language model of transformers.
        rows: ``(num_rows,)`` int64, indices into the flattened ``(batch * tokens)`` positions.
    """

    def gather(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = inputs[0]
        return (hidden.flatten(0, 1).index_select(0, rows).unsqueeze(0), *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(gather)  # type: ignore[operator]
    try:
        yield
    finally:
        handle.remove()
