# SPDX-License-Identifier: Apache-2.0
"""LoRA: W + B A with B and A trained, clipped together as one vector (Hu et al., arXiv 2106.09685).

The flat vector holds B and the *difference* of A from its public start, so that the zero vector is no update,
decay draws A back to its start, and a sum of releases is a sum of steps. The start has orthonormal rows: at
first B moves the update exactly as in ``ffa``, and A not at all.

The map (B, A) -> B A is not linear. The mean of two sites' vectors is not the mean of their updates, noise in
B meets noise in A, and how far a step moves the weights depends on where it is taken. ``ffa`` and ``lora-xs``
have none of this; ``lora`` is here for comparison, and where a budget is large enough for both factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear, AdapterKind
from fedpeft.adapters.frozen import features
from fedpeft.adapters.start import Start


class _LoraLinear(AdaptedLinear):
    def __init__(self, base: nn.Module, start: Tensor, b: Tensor, change: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("b", b, persistent=False)
        self.register_buffer("change", change, persistent=False)
        self.start: Tensor
        self.b: Tensor
        self.change: Tensor

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        # A's own gradient is (g B)^T x, so that here the input is kept as it is; modules that share an
        # input share it in memory. B needs the projection only.
        precise = torch.promote_types(x.dtype, torch.float32)  # a small change would vanish in bfloat16
        a = (self.start.to(precise) + self.change.to(precise)).to(x.dtype)
        projected = self.traced(x, a, 1)
        return self.traced(projected, self.b.to(x.dtype), 0, onto=y)

    def trained(self) -> tuple[Tensor, ...]:
        return self.b, self.change

    def fixed(self) -> tuple[Tensor, ...]:
        return (self.start,)

    def factors(self, trained: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        b, change = trained or self.trained()
        return b, self.start.to(change.dtype) + change

    def start_of_a(self) -> Tensor | None:
        return self.start


@final
class Kind(AdapterKind):
    """B trained from zero, A from a public start with orthonormal rows."""

    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """B of shape ``(out, r)`` and the change of A, ``(r, in)``; r is at most ``in_features``."""
        rank = min(rank, in_features)
        return {"B": (out_features, rank), "A": (rank, in_features)}

    def attach(self, base: nn.Module, rank: int, random: np.random.Generator, start: Start) -> AdaptedLinear:
        """Wrap ``base`` with the start of A that ``start`` names."""
        out_features, in_features = features(base)
        shapes = self.shapes(out_features, in_features, rank)
        device = next(base.parameters()).device
        b, change = (torch.zeros(shape, device=device) for shape in shapes.values())
        first = start(base, shapes["A"][0], random).to(device)
        return _LoraLinear(base, first, b, change)
