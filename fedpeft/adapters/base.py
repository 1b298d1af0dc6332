# SPDX-License-Identifier: Apache-2.0
"""What an adapter kind is: a linear module that carries a low-rank update with trained tensors.

A kind is one file in this folder with one final class ``Kind`` that derives from ``AdapterKind``; the
file's name is the option (``a_b.py`` is ``"a-b"``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.sink import GradientSink


class AdaptedLinear(nn.Module, ABC):
    """A frozen linear module plus a trained low-rank update of its weight.

    ``forward`` takes and returns ``(batch, tokens, features)``. While ``sink`` is set, the backward pass
    puts the gradient of every example for every trained tensor there; otherwise nothing is recorded.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.sink: GradientSink | None = None
        self.keys: tuple[int, ...] = ()
        """The index of the segment of each trained tensor, in the order of ``trained``."""

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for code in a backbone that looks at it."""
        return self.base.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias, for code in a backbone that looks at it."""
        return self.base.bias  # type: ignore[return-value]

    @abstractmethod
    def trained(self) -> tuple[Tensor, ...]:
        """The trained tensors, in the order of their segments."""

    @abstractmethod
    def factors(self) -> tuple[Tensor, Tensor]:
        """``(B, A)`` of shapes ``(out, r)`` and ``(r, in)`` with update ``B @ A``, for export."""


class AdapterKind(ABC):
    """A parametrization u -> W + P(u) of one linear module."""

    @abstractmethod
    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the trained tensors by name, in the order of ``AdaptedLinear.trained``."""

    @abstractmethod
    def attach(self, base: nn.Module, rank: int, random: np.random.Generator) -> AdaptedLinear:
        """Wrap ``base``; the update is zero at first.

        Args:
            base: a frozen ``nn.Linear`` or ``Conv1D``.
            rank: of the update.
            random: a stream from the public seed and the module's name; no secret.
        """


def features(base: nn.Module) -> tuple[int, int]:
    """``(out_features, in_features)`` of a linear module, whichever way its weight lies."""
    if isinstance(base, nn.Linear):
        return base.out_features, base.in_features
    conv: Any = base  # transformers' Conv1D keeps its weight as (in, out)
    return int(conv.weight.shape[1]), int(conv.weight.shape[0])


def orthonormal_rows(num_rows: int, num_columns: int, random: np.random.Generator) -> Tensor:
    """A ``(num_rows, num_columns)`` float32 matrix with orthonormal rows, uniformly at random.

    Signs are fixed by the diagonal of R, since LAPACK builds differ in them and every party must make
    the same matrix.
    """
    q, r = np.linalg.qr(random.standard_normal((num_columns, num_rows)))
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return torch.from_numpy(np.ascontiguousarray((q * signs).T, dtype=np.float32))
