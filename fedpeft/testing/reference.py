# SPDX-License-Identifier: Apache-2.0
"""Slow, obviously right references, for tests of adapter kinds and training code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.base import AdaptedLinear
from fedpeft.data.prompts import Example
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients


def dummy_examples(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[Example]:
    """Examples of random tokens; the second half of each is the response."""
    random = np.random.default_rng(seed)
    return [
        Example(
            random.integers(0, vocabulary, n).astype(np.int32), num_prompt=max(1, n // 2), truncated=False
        )
        for n in lengths
    ]


def all_gradients(adapter: Adapter, units: Sequence[tuple[Example, ...]], max_tokens: int) -> list[Tensor]:
    """For each segment the ``(num_units, *shape)`` gradients as a site computes them, in micro-batches.

    Args:
        adapter: attached, with the vector to compute at loaded.
        units: shortest first, the order in which their gradients come.
        max_tokens: padded tokens in a micro-batch.
    """
    parts = [unit_gradients(adapter.model, adapter, batch) for batch in plan_batches(units, max_tokens)]
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]


def gradient_error(
    adapter: Adapter, values: np.ndarray, examples: Sequence[Example], max_tokens: int
) -> float:
    """The largest relative difference between a site's gradients and :func:`loop_gradients`.

    Args:
        adapter: attached; ``values`` are loaded into it.
        values: ``(d,)`` where the gradients are taken.
        examples: units of one example each.
        max_tokens: padded tokens in a micro-batch.

    Returns:
        The norm of the difference over the norm of the reference, the worst over segments and examples.
    """
    examples = sorted(examples, key=lambda example: example.ids.size)  # the order of the micro-batches
    adapter.load(values)
    fast = all_gradients(adapter, [(example,) for example in examples], max_tokens)
    worst = 0.0
    for i, example in enumerate(examples):
        for ours, theirs in zip(fast, loop_gradients(adapter, values, example), strict=True):
            worst = max(worst, float((ours[i] - theirs).norm() / theirs.norm()))
    return worst


def loop_gradients(adapter: Adapter, values: np.ndarray, example: Example) -> list[Tensor]:
    """The gradient of one example's loss, by ordinary autograd on ordinary leaves, for every adapter kind.

    The example goes through the whole model by itself, its logits are computed for every token, and the whole
    update ``B A`` is added to each module's output by a hook, so that nothing of the fast path is used.

    Args:
        adapter: attached; its modules are taken off for the time of the call.
        values: ``(d,)`` where the gradient is taken.
        example: one example.

    Returns:
        A tensor for each segment of the layout.
    """
    dtype = adapter.model.get_input_embeddings().weight.dtype  # type: ignore[operator]
    leaves = [
        torch.tensor(values[s.slice], dtype=dtype).view(s.shape).requires_grad_(True)
        for s in adapter.layout.segments
    ]
    with _without(adapter):
        handles = [_add_update(module, [leaves[key] for key in module.keys]) for module in adapter.modules]
        ids = torch.from_numpy(example.ids.astype(np.int64))[None]
        logits = adapter.model(input_ids=ids, use_cache=False).logits[0]
        loss = F.cross_entropy(logits[example.num_prompt - 1 : -1], ids[0, example.num_prompt :])
        gradients = torch.autograd.grad(loss, leaves)
        for handle in handles:
            handle.remove()
    return list(gradients)


@contextmanager
def _without(adapter: Adapter) -> Iterator[None]:
    """Within the context the backbone runs its own modules."""
    adapter.detach()
    try:
        yield
    finally:
        for target, module in zip(adapter.targets, adapter.modules, strict=True):
            parent_path, _, name = target.path.rpartition(".")
            setattr(adapter.model.get_submodule(parent_path), name, module)


def _add_update(module: AdaptedLinear, leaves: list[Tensor]) -> RemovableHandle:
    b, a = module.factors(leaves)
    update, shift = (b @ a).t(), module.shift(leaves)
    constant = 0.0 if shift is None else shift
    return module.base.register_forward_hook(lambda _module, inputs, out: out + inputs[0] @ update + constant)
