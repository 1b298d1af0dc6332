# SPDX-License-Identifier: Apache-2.0
"""The first singular vectors of a weight, the same ones wherever they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import linalg
from torch import Tensor


def singular_vectors(weight: npt.NDArray[np.float64], rank: int) -> tuple[Tensor, Tensor]:
    """``(U, A)`` of shapes ``(out, r)`` and ``(r, in)``: orthonormal columns and rows, float32.

    From the eigenvectors of the smaller Gram matrix, several times faster than a full decomposition; in
    float64 the loss of precision does not reach the leading vectors. ``torch.svd_lowrank`` would be faster
    still, but it starts from a random matrix.

    Two parties with different LAPACK builds get vectors that differ by rounding, about 1e-13 over the
    relative gap to the next singular value, which float32 hides; signs, which LAPACK leaves open, are fixed
    here. Only where two singular values are equal to rounding may the vectors differ truly, which
    ``Adapter.digest`` notices.

    Args:
        weight: ``(out, in)``.
        rank: r, at most the smaller side.

    Raises:
        ValueError: the weight is not finite.
    """
    if weight.shape[0] < weight.shape[1]:
        left, right = singular_vectors(weight.T, rank)
        return right.t().contiguous(), left.t().contiguous()
    side = weight.shape[1]
    _, v = linalg.eigh(weight.T @ weight, subset_by_index=[side - rank, side - 1])
    v = _with_signs(v[:, ::-1])
    # W V is U times the singular values; QR makes it orthonormal where these are zero, too.
    q, triangle = np.linalg.qr(weight @ v)
    return _single(q * np.where(np.diag(triangle) < 0, -1.0, 1.0)), _single(v.T)


def completed(rows: Tensor, num_rows: int, random: np.random.Generator) -> Tensor:
    """``rows``, orthonormal, with random ones below them, orthonormal too, up to ``num_rows``.

    Args:
        rows: ``(k, n)`` float32.
        num_rows: from k to n.
        random: a public stream.
    """
    missing = num_rows - rows.shape[0]
    if missing <= 0:
        return rows
    known = rows.double().numpy()
    drawn = random.standard_normal((rows.shape[1], missing))
    q, r = np.linalg.qr(np.hstack([known.T, drawn]))
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return torch.cat([rows, _single((q * signs).T[rows.shape[0] :])])


def _with_signs(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each column with the sign that makes its weighted sum positive.

    The largest entry, the usual choice, can be a tie; a weighted sum of many is zero only by a rare accident.
    """
    sums = directions(columns.shape[0]) @ columns
    return columns * np.where(sums < 0, -1.0, 1.0)


def directions(size: int) -> npt.NDArray[np.float64]:
    """``(size,)`` fixed numbers in [-0.5, 0.5) without a pattern, the same everywhere and for ever."""
    golden = 0.6180339887498949
    return np.asarray((np.arange(1, size + 1) * golden) % 1.0 - 0.5, dtype=np.float64)


def _single(matrix: npt.NDArray[np.floating[Any]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
