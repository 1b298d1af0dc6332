# SPDX-License-Identifier: Apache-2.0
"""FFA: W + B A with A frozen and orthonormal, B trained (Sun et al., FFA-LoRA, arXiv 2403.12313).

With orthonormal rows in A the map B -> B A is linear and keeps the Frobenius norm, so that averaging B
over sites is exact, noise is not amplified, and clipping in B is clipping of the update itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear, AdapterKind, features, orthonormal_rows
from fedpeft.adapters.sink import GradientSink
from fedpeft.errors import BackboneError


class _AddLowRank(torch.autograd.Function):
    """``y + x A^T B^T``; the backward pass leaves the per-example gradients of B in the sink.

    Of the input only ``x A^T`` is kept, r numbers a token, and the gradient of B is one small batched
    product: that is all that a private step adds to an ordinary one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, sink: GradientSink, key: int) -> Tensor:
        projected = x @ a.t()  # (n, T, r)
        ctx.save_for_backward(projected, a, b)
        ctx.sink, ctx.key = sink, key
        out = torch.addmm(y.flatten(0, 1), projected.flatten(0, 1), b.t())
        return out.view_as(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, T, out)
        projected, a, b = ctx.saved_tensors
        per_example = torch.bmm(gradient.transpose(1, 2), projected)  # (n, out, r)
        ctx.sink.add(ctx.key, per_example)
        to_input = (gradient @ b) @ a if ctx.needs_input_grad[0] else None
        to_output = gradient if ctx.needs_input_grad[1] else None
        return to_input, to_output, None, None, None, None


class _FfaLinear(AdaptedLinear):
    def __init__(self, base: nn.Module, a: Tensor, b: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)
        self.a: Tensor
        self.b: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3:
            raise BackboneError(
                f"adapter.modules: a chosen module got an input of shape {tuple(x.shape)}; only modules that "
                "see (batch, tokens, features) can be trained privately: leave it out"
            )
        y: Tensor = self.base(x)
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        if self.sink is None:
            return y + (x @ a.t()) @ b.t()
        # The graph must exist even where x needs no gradient, below the lowest trained block.
        leaf = b.detach().requires_grad_(True)
        out: Tensor = _AddLowRank.apply(x, y, a, leaf, self.sink, self.keys[0])  # type: ignore[no-untyped-call]
        return out

    def trained(self) -> tuple[Tensor, ...]:
        return (self.b,)

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.b, self.a


@final
class Kind(AdapterKind):
    """A frozen with orthonormal rows, B trained and zero at first."""

    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """One trained tensor, B of shape ``(out, r)``; r is at most ``in_features``."""
        return {"B": (out_features, min(rank, in_features))}

    def attach(self, base: nn.Module, rank: int, random: np.random.Generator) -> AdaptedLinear:
        """Wrap ``base`` with an A of orthonormal rows drawn from ``random``."""
        out_features, in_features = features(base)
        shape = self.shapes(out_features, in_features, rank)["B"]
        device = next(base.parameters()).device
        a = orthonormal_rows(shape[1], in_features, random).to(device)
        return _FfaLinear(base, a, torch.zeros(shape, device=device))
