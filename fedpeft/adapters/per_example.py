# SPDX-License-Identifier: Apache-2.0
"""The one piece of autograd of every adapter kind: a linear map with per-example gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedpeft.adapters.sink import GradientSink


def per_example_linear(
    x: Tensor, weight: Tensor, sink: GradientSink | None, key: int, onto: Tensor | None = None
) -> Tensor:
    """``x W^T``, or ``onto + x W^T``; backward leaves the gradient of W of every example in ``sink``.

    Kept for the backward pass are ``x`` itself, no copy of it, and ``W``: where ``x`` is a projection to r
    numbers, r numbers a token. The gradient is one small batched product, and that is all that a private step
    adds to an ordinary one.

    Args:
        x: ``(n, T, in)``.
        weight: ``(out, in)``, of the type of ``x``; a constant to autograd.
        sink: where gradients go; ``None`` records nothing.
        key: of W in the sink.
        onto: ``(n, T, out)`` to add to.
    """
    if sink is None:
        return _apply(x, weight, onto)
    # The graph must exist even where x needs no gradient, below the lowest trained block.
    leaf = weight.detach().requires_grad_(True)
    out: Tensor = _PerExampleLinear.apply(x, leaf, onto, sink, key)  # type: ignore[no-untyped-call]
    return out


class _PerExampleLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, onto: Tensor | None, sink: GradientSink, key: int
    ) -> Tensor:
        out = _apply(x, weight, onto)
        # Autocast chose the type of the product; it is over when the gradient comes back in that type.
        ctx.save_for_backward(x.to(out.dtype), weight.to(out.dtype))
        ctx.sink, ctx.key = sink, key
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, T, out)
        x, weight = ctx.saved_tensors
        # The long side last: the product the other way round takes three times as long on a CPU.
        transposed = torch.bmm(x.transpose(1, 2), gradient)  # (n, in, out)
        ctx.sink.add(ctx.key, transposed.transpose(1, 2).contiguous())
        to_input = gradient @ weight if ctx.needs_input_grad[0] else None
        to_onto = gradient if ctx.needs_input_grad[2] else None
        return to_input, None, to_onto, None, None


def per_example_shift(y: Tensor, bias: Tensor, sink: GradientSink | None, key: int) -> Tensor:
    """``y + bias``; backward leaves the gradient of the bias of every example in ``sink``.

    Args:
        y: ``(n, T, out)``.
        bias: ``(out,)``, of the type of ``y``; a constant to autograd.
        sink: where gradients go; ``None`` records nothing.
        key: of the bias in the sink.
    """
    if sink is None:
        return y + bias
    out: Tensor = _PerExampleShift.apply(y, bias.detach().requires_grad_(True), sink, key)  # type: ignore[no-untyped-call]
    return out


class _PerExampleShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor, sink: GradientSink, key: int) -> Tensor:
        ctx.sink, ctx.key = sink, key
        return y + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, T, out)
        ctx.sink.add(ctx.key, gradient.sum(1))
        return gradient if ctx.needs_input_grad[0] else None, None, None, None


def _apply(x: Tensor, weight: Tensor, onto: Tensor | None) -> Tensor:
    if onto is None:
        return x @ weight.t()
    return torch.addmm(onto.flatten(0, 1), x.flatten(0, 1), weight.t()).view_as(onto)
