# SPDX-License-Identifier: Apache-2.0
"""FFA: W + B A with A frozen and orthonormal, B trained (Sun et al., FFA-LoRA, arXiv 2403.12313).

With orthonormal rows in A the map B -> B A is linear and keeps the Frobenius norm, so that averaging B
over sites is exact, noise is not amplified, and clipping in B is clipping of the update itself.
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


class _FfaLinear(AdaptedLinear):
    def __init__(self, base: nn.Module, a: Tensor, b: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)
        self.a: Tensor
        self.b: Tensor

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        # Of the input only x A^T is kept for the backward pass, r numbers a token.
        projected = x @ self.a.to(x.dtype).t()
        return self.traced(projected, self.b.to(x.dtype), 0, onto=y)

    def trained(self) -> tuple[Tensor, ...]:
        return (self.b,)

    def fixed(self) -> tuple[Tensor, ...]:
        return (self.a,)

    def factors(self, trained: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        (b,) = trained or self.trained()
        return b, self.a.to(b.dtype)


@final
class Kind(AdapterKind):
    """A frozen with orthonormal rows, B trained and zero at first."""

    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """One trained tensor, B of shape ``(out, r)``; r is at most ``in_features``."""
        return {"B": (out_features, min(rank, in_features))}

    def attach(self, base: nn.Module, rank: int, random: np.random.Generator, start: Start) -> AdaptedLinear:
        """Wrap ``base`` with an A of orthonormal rows, as ``start`` says."""
        out_features, in_features = features(base)
        shape = self.shapes(out_features, in_features, rank)["B"]
        device = next(base.parameters()).device
        a = start(base, shape[1], random).to(device)
        return _FfaLinear(base, a, torch.zeros(shape, device=device))
