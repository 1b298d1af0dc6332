# SPDX-License-Identifier: Apache-2.0
"""Slow, obviously right references, for tests of adapter kinds and training code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example


def dummy_examples(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[Example]:
    """Examples of random tokens; the second half of each is the response."""
    random = np.random.default_rng(seed)
    return [
        Example(
            random.integers(0, vocabulary, n).astype(np.int32), num_prompt=max(1, n // 2), truncated=False
        )
        for n in lengths
    ]


def loop_gradients(adapter: Adapter, values: np.ndarray, example: Example) -> list[Tensor]:
    """The gradient of one example's loss, by ordinary autograd on ordinary leaves, for kind ``ffa``.

    The example goes through the whole model by itself, its logits are computed for every token, and the
    update ``B A`` is added to each module's output by a hook, so that nothing of the fast path is used.

    Args:
        adapter: attached; its vector is set to zero.
        values: ``(d,)`` where the gradient is taken.
        example: one example.
    """
    dtype = next(adapter.model.parameters()).dtype
    leaves = [
        torch.tensor(values[s.slice], dtype=dtype).view(s.shape).requires_grad_(True)
        for s in adapter.layout.segments
    ]
    adapter.load(adapter.zeros())
    handles = []
    for module, leaf in zip(adapter.modules, leaves, strict=True):
        update = (leaf @ module.factors()[1].to(dtype)).t()
        handles.append(
            module.base.register_forward_hook(lambda _m, inputs, out, update=update: out + inputs[0] @ update)
        )
    ids = torch.from_numpy(example.ids.astype(np.int64))[None]
    logits = adapter.model(input_ids=ids, use_cache=False).logits[0]
    loss = F.cross_entropy(logits[example.num_prompt - 1 : -1], ids[0, example.num_prompt :])
    gradients = torch.autograd.grad(loss, leaves)
    for handle in handles:
        handle.remove()
    return list(gradients)
