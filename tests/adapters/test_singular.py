# SPDX-License-Identifier: Apache-2.0
"""The leading singular vectors: right, orthonormal, and the same in spite of rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpeft.adapters.singular import directions, singular_vectors


def weight(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns))


@pytest.mark.parametrize(("rows", "columns"), [(9, 9), (20, 7), (7, 20)])
@pytest.mark.parametrize("rank", [1, 4, 7])
def test_they_keep_the_best_part_of_the_weight(rows: int, columns: int, rank: int) -> None:
    w = weight(rows, columns)
    u, a = (m.double().numpy() for m in singular_vectors(w, rank))
    left, values, right = np.linalg.svd(w, full_matrices=False)
    core = u.T @ w @ a.T
    np.testing.assert_allclose(core, np.diag(values[:rank]), atol=1e-5)
    np.testing.assert_allclose(np.abs(left[:, :rank].T @ u), np.eye(rank), atol=1e-5)
    np.testing.assert_allclose(np.abs(right[:rank] @ a.T), np.eye(rank), atol=1e-5)


@pytest.mark.parametrize("rows_of_rank", [0, 2], ids=["zero", "rank 2"])
def test_they_are_orthonormal_where_the_weight_has_fewer_directions(rows_of_rank: int) -> None:
    w = weight(12, rows_of_rank) @ weight(rows_of_rank, 8)
    u, a = singular_vectors(w, 5)
    torch.testing.assert_close(u.t() @ u, torch.eye(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(a @ a.t(), torch.eye(5), atol=1e-5, rtol=0)


def test_rounding_of_another_machine_moves_them_by_rounding_only() -> None:
    w = weight(40, 30)
    other = w + 1e-13 * weight(40, 30, seed=1)
    for one, two in zip(singular_vectors(w, 4), singular_vectors(other, 4), strict=True):
        torch.testing.assert_close(one, two, atol=2e-7, rtol=0)


def test_signs_do_not_depend_on_what_the_library_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedpeft.adapters import singular

    expected = singular_vectors(weight(12, 8), 3)
    eigh = singular.linalg.eigh

    def flipped(*args: object, **kwargs: object) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = eigh(*args, **kwargs)
        return values, vectors * np.array([1.0, -1.0, -1.0])

    monkeypatch.setattr(singular.linalg, "eigh", flipped)
    for one, two in zip(expected, singular_vectors(weight(12, 8), 3), strict=True):
        assert torch.equal(one, two)


def test_a_weight_that_is_not_finite_is_refused() -> None:
    w = weight(6, 5)
    w[2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        singular_vectors(w, 2)


def test_the_fixed_directions_are_fixed_and_without_a_pattern() -> None:
    numbers = directions(1000)
    np.testing.assert_allclose(numbers[:3], [0.1180339887, -0.2639320225, 0.3541019662], atol=1e-9)
    assert np.array_equal(directions(10), numbers[:10])
    assert abs(numbers.mean()) < 0.01
    assert numbers.min() >= -0.5
    assert numbers.max() < 0.5
