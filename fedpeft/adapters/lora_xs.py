# SPDX-License-Identifier: Apache-2.0
"""LoRA-XS: W + U R A, where only the small square R is trained (Balazy et al., arXiv 2405.17604).

U and A are the first r singular vectors of W itself, left and right. The paper scales one of them by the
singular values; here both are orthonormal, so that R -> U R A is linear and keeps the Frobenius norm: means
of R are exact, noise is not amplified, and clipping R is clipping the update. With r^2 numbers a module it is
the kind for small budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear, AdapterKind
from fedpeft.adapters.frozen import dense_weight, features
from fedpeft.adapters.singular import singular_vectors
from fedpeft.adapters.start import Start
from fedpeft.errors import BackboneError


class _LoraXsLinear(AdaptedLinear):
    def __init__(self, base: nn.Module, u: Tensor, a: Tensor, r: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("r", r, persistent=False)
        self.u: Tensor
        self.a: Tensor
        self.r: Tensor

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        # Of the input only x A^T is kept for the backward pass, r numbers a token.
        projected = x @ self.a.to(x.dtype).t()
        turned = self.traced(projected, self.r.to(x.dtype), 0)
        out = torch.addmm(y.flatten(0, 1), turned.flatten(0, 1), self.u.to(x.dtype).t())
        return out.view_as(y)

    def trained(self) -> tuple[Tensor, ...]:
        return (self.r,)

    def fixed(self) -> tuple[Tensor, ...]:
        return self.u, self.a

    def factors(self, trained: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        (r,) = trained or self.trained()
        return self.u.to(r.dtype) @ r, self.a.to(r.dtype)


@final
class Kind(AdapterKind):
    """U and A from the singular vectors of the frozen weight, R trained and zero at first."""

    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """One trained tensor, R of shape ``(r, r)``; r is at most the smaller side of the weight."""
        rank = min(rank, out_features, in_features)
        return {"R": (rank, rank)}

    def attach(
        self,
        base: nn.Module,
        rank: int,
        random: np.random.Generator,  # noqa: ARG002
        start: Start,  # noqa: ARG002
    ) -> AdaptedLinear:
        """Wrap ``base`` with the bases of its own weight; nothing here is random.

        Raises:
            BackboneError: the weight is not finite and has no singular vectors.
        """
        shape = self.shapes(*features(base), rank)["R"]
        try:
            u, a = singular_vectors(dense_weight(base).numpy(), shape[0])
        except (ValueError, np.linalg.LinAlgError) as error:
            raise BackboneError(
                f'adapter.kind = "lora-xs": a frozen weight of shape {features(base)} has no singular '
                f"vectors ({error}); use a sound backbone, or another kind"
            ) from error
        device = next(base.parameters()).device
        return _LoraXsLinear(base, u.to(device), a.to(device), torch.zeros(shape, device=device))
