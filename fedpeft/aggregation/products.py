# SPDX-License-Identifier: Apache-2.0
"""Sums of products B A without ever forming them, for adapters that train both factors.

With Bs = [w_1 B_1 | ... | w_K B_K] and As the A_k on top of one another, sum w_k B_k A_k = Bs As. With the
QR decomposition As^T = Q_a R_a its right singular vectors are Q_a times the eigenvectors of the small matrix
R_a (Bs^T Bs) R_a^T: the cost is (m + n) (sum of ranks)^2, and m x n numbers never stand in memory. Ranks may
differ from site to site. The factorizations are torch's: in two threads numpy's take longer than in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fedpeft.aggregation.base import DoubleVector, NewAggregator, maker
from fedpeft.types import Segment

if TYPE_CHECKING:
    from fedpeft.adapters.adapter import Adapter

Matrix = DoubleVector
Factors = tuple[Matrix, Matrix]
"""``(B, A)`` of shapes ``(m, r)`` and ``(r, n)``."""

_WORST_BASIS: Final = 1e-3  # least cosine between the mean A and the rows that the product needs


@dataclass(frozen=True, slots=True)
class Product:
    """Two segments whose product is the update of one weight.

    Attributes:
        b: the segment of B.
        a: the segment of the change of A.
        start: ``(r, n)`` what A is at first.
        residual: where two more factors of the same weight lie, which are carried; ``None`` for nowhere.
    """

    b: Segment
    a: Segment
    start: Matrix
    residual: tuple[Segment, Segment] | None = None

    def factors(self, vector: DoubleVector) -> Factors:
        """``(B, A)`` of a flat vector ``(d,)``."""
        b = vector[self.b.slice].reshape(self.b.shape)
        return b, self.start + vector[self.a.slice].reshape(self.a.shape)

    def put(self, vector: DoubleVector, factors: Factors) -> None:
        """Write ``factors`` to their places in ``vector``."""
        b, a = factors
        vector[self.b.slice] = b.ravel()
        vector[self.a.slice] = (a - self.start).ravel()


def products_of(adapter: Adapter) -> tuple[Product, ...]:
    """Of every module of which both factors are trained; none for the linear kinds."""
    found = []
    carried = adapter.layout.carried
    residuals = zip(carried[::2], carried[1::2], strict=True)
    for module in adapter.modules:
        start = module.start_of_a()
        if start is not None:
            b, a = (adapter.layout.segments[key] for key in module.keys)
            found.append(Product(b, a, start.double().cpu().numpy(), next(residuals, None)))
    return tuple(found)


def maker_of(name: str, adapter: Adapter) -> NewAggregator:
    """What makes the rule of that name for ``adapter``, round after round; see ``maker``."""
    layout = adapter.layout
    return maker(name, products_of(adapter), layout.state_size - layout.size)


def best_sum(factors: Sequence[Factors], weights: Sequence[float], rank: int) -> Factors:
    """The matrix of at most ``rank`` that is nearest to ``sum w_k B_k A_k`` in Frobenius norm.

    Args:
        factors: of each site, of ranks of their own.
        weights: as many.
        rank: of the result; exact where the sum has no more.

    Returns:
        ``(m, rank)`` and ``(rank, n)``, the rows of the second orthonormal. Where fewer directions are there
        than ``rank``, columns of zeros fill up the first.
    """
    left = torch.from_numpy(np.hstack([weight * b for weight, (b, _) in zip(weights, factors, strict=True)]))
    right = torch.from_numpy(np.vstack([a for _, a in factors]))
    reflections, coefficients = torch.geqrf(right.T)  # Q_a stays in this form: few of its columns are needed
    size = min(right.shape)
    r_a = reflections[:size].triu()
    # The right singular vectors suffice: the left ones times the values are the product's image of them.
    _, vectors = torch.linalg.eigh(r_a @ (left.T @ left) @ r_a.T)
    kept = min(rank, size)
    chosen = torch.zeros((right.shape[1], kept), dtype=right.dtype)
    chosen[:size] = vectors[:, size - kept :].flip(1)
    a = torch.ormqr(reflections, coefficients, chosen).T
    b = left @ (right @ a.T)
    missing = rank - kept
    return (
        np.asarray(torch.nn.functional.pad(b, (0, missing)).numpy()),
        np.asarray(torch.nn.functional.pad(a, (0, 0, 0, missing)).numpy()),
    )


def in_basis_near(factors: Factors, mean_a: Matrix) -> Factors:
    """The same product with its A as near to ``mean_a`` as the rows that the product needs allow.

    A product has many pairs of factors. Without a choice they would jump from round to round, and with them
    what momentum and noise allocation remember.

    Args:
        factors: ``(B, A)``, rows of A orthonormal.
        mean_a: ``(r, n)``.
    """
    b, a = factors
    turn = mean_a @ a.T
    values = np.linalg.svd(turn, compute_uv=False)
    if values[-1] <= _WORST_BASIS * max(float(np.linalg.norm(mean_a, 2)), 1e-300):
        return factors
    return np.asarray(np.linalg.solve(turn.T, b.T).T, dtype=np.float64), turn @ a
