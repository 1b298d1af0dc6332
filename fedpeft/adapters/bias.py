# SPDX-License-Identifier: Apache-2.0
"""Bias: W x + b with b trained from zero, W frozen (Bu et al., DP-BiTFiT, arXiv 2210.00036).

Most of today's backbones have no bias in their linear modules; here each chosen one gets the change of a
bias, zero at first, whether it has a bias of its own or not. The map is linear and an isometry: means are
exact and noise is not amplified. A gradient is a sum over tokens, so that nothing of the forward pass is kept
for it.
The biases of norms, which the paper trains too, are left alone: they are no linear modules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpeft.adapters.base import AdaptedLinear, AdapterKind
from fedpeft.adapters.frozen import features
from fedpeft.adapters.per_example import per_example_shift
from fedpeft.adapters.start import Start

_HALF: Final = (torch.bfloat16, torch.float16)


class _BiasLinear(AdaptedLinear):
    def __init__(self, base: nn.Module, b: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("b", b, persistent=False)
        self.b: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """As of every kind; in half precision the sum is rounded once.

        A small number added to an output that was rounded already would be rounded away.
        """
        weight = self.weight
        half = x.dtype in _HALF or torch.is_autocast_enabled(x.device.type)
        if not half or x.dim() != 3 or not weight.is_floating_point():
            return super().forward(x)
        total = (self.b if self.bias is None else self.b + self.bias).to(weight.dtype)
        if isinstance(self.base, nn.Linear):
            y = F.linear(x, weight, total)
        else:  # Conv1D keeps its weight the other way
            y = torch.addmm(total, x.flatten(0, 1), weight).view(*x.shape[:2], -1)
        return per_example_shift(y, torch.zeros_like(self.b, dtype=y.dtype), self.sink, self._key)

    def add_update(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return per_example_shift(y, self.b.to(y.dtype), self.sink, self._key)

    @property
    def _key(self) -> int:
        return self.keys[0] if self.keys else 0

    def trained(self) -> tuple[Tensor, ...]:
        return (self.b,)

    def fixed(self) -> tuple[Tensor, ...]:
        return ()

    def factors(self, trained: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        (b,) = trained or self.trained()
        out_features, in_features = features(self.base)
        return b.new_zeros(out_features, 1), b.new_zeros(1, in_features)

    def shift(self, trained: Sequence[Tensor] | None = None) -> Tensor | None:
        return (trained or self.trained())[0]


@final
class Kind(AdapterKind):
    """One number for each output feature, zero at first; there is no rank."""

    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:  # noqa: ARG002
        """One trained tensor, b of shape ``(out,)``."""
        return {"b": (out_features,)}

    def attach(
        self,
        base: nn.Module,
        rank: int,  # noqa: ARG002
        random: np.random.Generator,  # noqa: ARG002
        start: Start,  # noqa: ARG002
    ) -> AdaptedLinear:
        """Wrap ``base``; nothing here is random."""
        out_features, _ = features(base)
        return _BiasLinear(base, torch.zeros(out_features, device=next(base.parameters()).device))
