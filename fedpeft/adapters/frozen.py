# SPDX-License-Identifier: Apache-2.0
"""The frozen linear modules of a backbone, whichever way they keep their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fedpeft.backbone.quantization import unpacked


def is_linear(module: nn.Module) -> bool:
    """Whether adapters can be put around ``module``."""
    # Conv1D is transformers' own; importing it here would double the time that planning takes.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def features(base: nn.Module) -> tuple[int, int]:
    """``(out_features, in_features)`` of a linear module, whichever way its weight lies."""
    if isinstance(base, nn.Linear):
        return base.out_features, base.in_features
    conv: Any = base  # transformers' Conv1D keeps its weight as (in, out)
    return int(conv.weight.shape[1]), int(conv.weight.shape[0])


def dense_weight(base: nn.Module) -> Tensor:
    """The weight as ``(out, in)`` float64 on the CPU; 4-bit ones as their module computes."""
    weight: Any = base.weight
    dense = unpacked(weight).detach().to("cpu", torch.float64)
    return dense if isinstance(base, nn.Linear) else dense.t()
