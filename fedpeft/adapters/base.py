# SPDX-License-Identifier: Apache-2.0
"""What an adapter kind is: a linear module that carries a low-rank update with trained tensors.

A kind is one file in this folder with one final class ``Kind`` that derives from ``AdapterKind``; the
file's name is the option (``a_b.py`` is ``"a-b"``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.frozen import features
from fedpeft.adapters.per_example import per_example_linear
from fedpeft.adapters.sink import GradientSink
from fedpeft.errors import BackboneError

if TYPE_CHECKING:
    from fedpeft.adapters.start import Start


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
        self.residual: tuple[Tensor, Tensor] | None = None
        """``(U, V)`` of shapes ``(out, q)`` and ``(q, in)``: U V is added to the weight and never trained."""
        self.num_carried = 0
        """Directions of it that anything was written to; they come first."""

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for code in a backbone that looks at it."""
        return self.base.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """The frozen bias, for code in a backbone that looks at it."""
        return self.base.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """The frozen module's output with the update's added.

        Raises:
            BackboneError: an input without examples and tokens, which has no gradient of an example.
        """
        if x.dim() != 3:
            raise BackboneError(
                f"adapter.modules: a chosen module got an input of shape {tuple(x.shape)}; only modules that "
                "see (batch, tokens, features) can be trained privately: leave it out"
            )
        return self.add_update(x, self.add_residual(x, self.base(x)))

    def add_residual(self, x: Tensor, y: Tensor) -> Tensor:
        """``y`` with the output of what is carried beside the update, if anything is."""
        if self.residual is None or not self.num_carried:
            return y
        left, right = self.residual[0][:, : self.num_carried], self.residual[1][: self.num_carried]
        left, right = left.to(x.dtype), right.to(x.dtype)
        projected = x.flatten(0, 1) @ right.t()
        return torch.addmm(y.flatten(0, 1), projected, left.t()).view_as(y)

    def carry(self, rank: int) -> tuple[Tensor, Tensor]:
        """Make room for a residual of that rank, zero at first; its factors, to be filled in place."""
        shapes, device = residual_shapes(*features(self.base), rank), self.trained()[0].device
        left, right = (torch.zeros(shape, device=device) for shape in shapes.values())
        self.residual = (left, right)
        return self.residual

    def count_carried(self) -> None:
        """Look which directions of the residual are in use, after it was filled."""
        if self.residual is not None:
            used = self.residual[0].abs().sum(0).nonzero()
            self.num_carried = int(used.max()) + 1 if used.numel() else 0

    def whole_update(self) -> tuple[Tensor, Tensor]:
        """``(B, A)`` of all that is added to the weight: the factors, and after them what is carried."""
        b, a = self.factors()
        if self.residual is None:
            return b, a
        left, right = self.residual[0][:, : self.num_carried], self.residual[1][: self.num_carried]
        return torch.cat((b, left), dim=1), torch.cat((a, right), dim=0)

    @abstractmethod
    def add_update(self, x: Tensor, y: Tensor) -> Tensor:
        """``y + x A^T B^T`` with ``x`` of ``(n, T, in)`` and ``y`` of ``(n, T, out)``.

        Every trained tensor takes part through :meth:`traced`, which is what records its gradients.
        """

    def traced(self, x: Tensor, weight: Tensor, index: int, onto: Tensor | None = None) -> Tensor:
        """``x W^T``, or ``onto + x W^T``, for the trained tensor at ``index`` of ``trained``.

        Args:
            x: ``(n, T, in)``.
            weight: the trained tensor, ``(out, in)``, in the type of ``x``; or a constant plus that tensor,
                whose gradient is the same.
            index: of the tensor.
            onto: ``(n, T, out)`` to add to.
        """
        key = self.keys[index] if self.keys else index
        return per_example_linear(x, weight, self.sink, key, onto)

    @abstractmethod
    def trained(self) -> tuple[Tensor, ...]:
        """The trained tensors, in the order of their segments; all zeros are an update of zero."""

    @abstractmethod
    def fixed(self) -> tuple[Tensor, ...]:
        """The frozen matrices that every party must have made alike before vectors can be added."""

    @abstractmethod
    def factors(self, trained: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """``(B, A)`` of shapes ``(out, r)`` and ``(r, in)`` with update ``B @ A``.

        By ordinary operations, so that autograd can follow them: what ``add_update`` computes is checked
        against it.

        Args:
            trained: tensors to use, in their type; default: those of the module.
        """

    def shift(self, trained: Sequence[Tensor] | None = None) -> Tensor | None:  # noqa: ARG002
        """``(out,)`` what is added to every output beside ``x A^T B^T``; ``None`` for nothing.

        Args:
            trained: as for ``factors``.
        """
        return None

    def start_of_a(self) -> Tensor | None:
        """``(r, in)`` what A is at first, where B and the change of A are trained; else ``None``."""
        return None


class AdapterKind(ABC):
    """A parametrization u -> W + P(u) of one linear module."""

    @abstractmethod
    def shapes(self, out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the trained tensors by name, in the order of ``AdaptedLinear.trained``."""

    @abstractmethod
    def attach(self, base: nn.Module, rank: int, random: np.random.Generator, start: Start) -> AdaptedLinear:
        """Wrap ``base``; the update is zero at first.

        Args:
            base: a frozen ``nn.Linear`` or ``Conv1D``.
            rank: of the update.
            random: a stream from the public seed and the module's name; no secret.
            start: makes A, for kinds that have a choice.
        """


def residual_shapes(out_features: int, in_features: int, rank: int) -> Mapping[str, tuple[int, int]]:
    """Shapes of the two factors of what a module carries: no more numbers than its weight has."""
    rank = min(rank, max(1, out_features * in_features // (out_features + in_features)))
    return {"residual.B": (out_features, rank), "residual.A": (rank, in_features)}


def orthonormal_rows(num_rows: int, num_columns: int, random: np.random.Generator) -> Tensor:
    """A ``(num_rows, num_columns)`` float32 matrix with orthonormal rows, uniformly at random.

    Signs are fixed by the diagonal of R, since LAPACK builds differ in them and every party must make
    the same matrix.
    """
    q, r = np.linalg.qr(random.standard_normal((num_columns, num_rows)))
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return torch.from_numpy(np.ascontiguousarray((q * signs).T, dtype=np.float32))
