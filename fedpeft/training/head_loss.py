# SPDX-License-Identifier: Apache-2.0
"""The loss of response tokens, with the head, its loss and its gradient taken a few rows at a time.

The head is frozen, so all that training needs of it is each row's loss and that loss's gradient at the head's
input. Both are known as soon as the row's logits are: the backward pass only multiplies. So the logits of a
batch, the largest tensor of a step, are never there at once, nor the copies that a loss makes of them.

The loss of a token of probability p is -ln p, or the generalized cross-entropy (1 - p^q) / q (Zhang and
Sabuncu 2018, arXiv 1805.07836), whose gradient is p^q times that of -ln p. It is a function of one token of
one example, so per-example gradients stay exact and privacy is not touched.

Only where a backbone ends with its head: one that does something to its logits afterwards (Gemma2's soft-cap)
takes the ordinary way.

Where all responses are of a public list, the softmax may run over the list's tokens alone: then nothing of an
example's gradient, which is clipped, goes into telling answers from the rest of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpeft.training.head import head_rows

_LOGITS_AT_ONCE: Final = 2**24  # 64 MB in float32; products of fewer rows are slower

_ends: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def ends_with_head(model: nn.Module) -> bool:
    """Whether the model's logits are what its head, a frozen linear module, makes of its input.

    Found out once a model, on two tokens; ask outside of every context that changes its forward pass.
    """
    if model not in _ends:
        _ends[model] = _compare(model)
    return _ends[model]


def row_losses(
    model: nn.Module,
    input_ids: Tensor,
    rows: Tensor,
    targets: Tensor,
    apart: bool,
    q: float = 0.0,
    vocabulary: Sequence[int] = (),
) -> Tensor:
    """``(R,)`` the loss of each target, in the precision of the logits, at least float32.

    Args:
        model: a causal language model of transformers.
        input_ids: ``(n, T)`` int64.
        rows: ``(R,)`` int64, positions in the flattened ``(n * T)`` grid.
        targets: ``(R,)`` int64, the token after each.
        apart: what :func:`ends_with_head` said of the model.
        q: of the generalized cross-entropy; 0 is the ordinary one.
        vocabulary: tokens that the softmax runs over; empty: all. A target outside has loss 0, so that it
            teaches nothing and, above all, its example is treated without a look at the others.
    """
    chosen = torch.tensor(sorted(set(vocabulary)), device=targets.device) if vocabulary else None
    known: Tensor | None = None
    if chosen is not None:
        places = torch.searchsorted(chosen, targets).clamp_max(len(chosen) - 1)
        known, targets = chosen[places] == targets, places
    if apart:
        losses = _losses_at_head(model, _entering_head(model, input_ids, rows), targets, q, chosen)
    else:
        with head_rows(model, rows):
            logits = model(input_ids=input_ids, use_cache=False).logits[0]
        logits = logits if chosen is None else logits[:, chosen]
        entropies = F.cross_entropy(logits.to(_at_least_float32(logits)), targets, reduction="none")
        losses = entropies if q == 0 else -torch.expm1(-q * entropies) / q
    return losses if known is None else losses * known


def _losses_at_head(
    model: nn.Module, hidden: Tensor, targets: Tensor, q: float, chosen: Tensor | None
) -> Tensor:
    head = _head_of(model)
    weight: Tensor = head.weight
    bias: Tensor | None = head.bias
    if chosen is not None:
        weight, bias = weight[chosen], None if bias is None else bias[chosen]
    losses: Tensor = _HeadLoss.apply(hidden, weight, bias, targets, q)  # type: ignore[no-untyped-call]
    return losses


class _HeadLoss(torch.autograd.Function):
    """Losses of rows; the gradient at the rows is computed with them, while their logits are at hand."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, q: float
    ) -> Tensor:
        """``(R, hidden)``, ``(V, hidden)``, ``(V,)``, ``(R,)`` to ``(R,)``."""
        step = max(1, _LOGITS_AT_ONCE // weight.shape[0])
        gradients = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses = []
        for start in range(0, len(hidden), step):
            rows, wanted = hidden[start : start + step], targets[start : start + step, None]
            raw = F.linear(rows, weight, bias)
            logits = raw.to(_at_least_float32(raw))
            normalizer = logits.logsumexp(1, keepdim=True)
            entropies = normalizer - logits.gather(1, wanted)
            losses.append((entropies if q == 0 else -torch.expm1(-q * entropies) / q)[:, 0])
            if gradients is not None:
                slope = logits.sub_(normalizer).exp_()
                slope.scatter_add_(1, wanted, slope.new_full((1, 1), -1.0).expand_as(wanted))
                if q > 0:
                    slope *= torch.exp(-q * entropies)
                gradients[start : start + step] = slope.to(raw.dtype) @ weight.to(raw.dtype)
        if gradients is not None:
            ctx.save_for_backward(gradients)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Each row's gradient times how much its loss counts."""
        (gradients,) = ctx.saved_tensors
        return gradients * slopes[0][:, None].to(gradients.dtype), None, None, None, None


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _head_of(model: nn.Module) -> nn.Linear:
    head: nn.Linear = model.get_output_embeddings()  # type: ignore[operator]
    return head


def _entering_head(model: nn.Module, input_ids: Tensor, rows: Tensor) -> Tensor:
    """``(R, hidden)`` what enters the head at ``rows``; the pass ends there.

    Even one row would cost: in bfloat16 a CPU copies the whole head for it.
    """

    def stop(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        raise _HeadReached(inputs[0].flatten(0, 1).index_select(0, rows))

    handle = _head_of(model).register_forward_pre_hook(stop)
    try:
        model(input_ids=input_ids, use_cache=False)
    except _HeadReached as reached:
        return reached.states
    finally:
        handle.remove()
    raise RuntimeError("the head was never entered")


class _HeadReached(Exception):  # noqa: N818 - no error: it ends a pass early
    """What would have entered the head."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@torch.no_grad()
def _compare(model: nn.Module) -> bool:
    """Bit for bit, and far from zero, where a soft-cap cannot be missed."""
    head = _head_of(model)
    if type(head) is not nn.Linear or any(p.requires_grad for p in head.parameters()):
        return False
    made: list[Tensor] = []
    handles = (
        head.register_forward_pre_hook(lambda _module, inputs: (1e3 * inputs[0], *inputs[1:])),
        head.register_forward_hook(lambda _module, _inputs, output: made.append(output)),
    )
    try:
        ids = torch.zeros(1, 2, dtype=torch.int64, device=head.weight.device)
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits)
