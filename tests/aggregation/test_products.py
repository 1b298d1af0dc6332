# SPDX-License-Identifier: Apache-2.0
"""Sums of products equal the dense computation, whatever the ranks, and factors stay where they were."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.adapters.adapter import Adapter
from fedpeft.aggregation.products import best_sum, in_basis_near, products_of
from fedpeft.settings import AdapterSettings
from fedpeft.testing import tiny_backbone

RANKS = [(4, 4, 4), (1, 3, 8), (16, 16), (40, 40), (2,)]


def factors_of(ranks: tuple[int, ...], seed: int = 0, rows: int = 30, columns: int = 50):
    random = np.random.default_rng(seed)
    return [(random.standard_normal((rows, r)), random.standard_normal((r, columns))) for r in ranks]


@pytest.mark.parametrize("ranks", RANKS, ids=str)
@pytest.mark.parametrize("rank", [1, 4, 30])
def test_the_sum_is_the_dense_one_cut_to_the_rank(ranks: tuple[int, ...], rank: int) -> None:
    factors = factors_of(ranks)
    weights = [0.5 + i for i in range(len(ranks))]
    dense = sum(w * b @ a for w, (b, a) in zip(weights, factors, strict=True))
    u, values, v = np.linalg.svd(dense)
    nearest = (u[:, :rank] * values[:rank]) @ v[:rank]
    b, a = best_sum(factors, weights, rank)
    assert (b.shape, a.shape) == ((30, rank), (rank, 50))
    assert np.abs(b @ a - nearest).max() < 1e-6 * np.abs(dense).max()
    if rank < min(30, sum(ranks)):
        assert np.abs(b @ a - dense).max() > 1e-3  # the control: the cut is a cut


def test_a_sum_that_fits_the_rank_is_exact() -> None:
    factors = factors_of((2, 3))
    b, a = best_sum(factors, [1.0, 2.0], 5)
    dense = factors[0][0] @ factors[0][1] + 2 * factors[1][0] @ factors[1][1]
    assert np.abs(b @ a - dense).max() < 1e-12 * np.abs(dense).max()


def test_one_pair_of_factors_comes_back_as_it_was() -> None:
    ((b, a),) = factors_of((4,))
    again = in_basis_near(best_sum([(b, a)], [1.0], 4), a)
    np.testing.assert_allclose(again[0], b, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(again[1], a, rtol=1e-10, atol=1e-12)


def test_another_basis_does_not_change_the_product() -> None:
    factors = factors_of((4, 4, 4))
    best = best_sum(factors, [1.0, 1.0, 1.0], 4)
    mean_a = sum(a for _, a in factors) / 3
    moved = in_basis_near(best, mean_a)
    np.testing.assert_allclose(moved[0] @ moved[1], best[0] @ best[1], rtol=1e-9, atol=1e-10)
    assert not np.allclose(moved[1], best[1])


def test_a_basis_that_the_product_cannot_have_is_left() -> None:
    best = best_sum(factors_of((2,)), [1.0], 2)
    random = np.random.default_rng(3).standard_normal((2, 50))
    away = random - random @ best[1].T @ best[1]
    assert in_basis_near(best, away) is best
    assert in_basis_near(best, np.zeros((2, 50))) is best


@pytest.mark.parametrize(
    ("kind", "pairs"), [("lora", True), ("ffa", False), ("lora-xs", False), ("bias", False)]
)
def test_pairs_are_those_of_modules_with_both_factors(kind: str, pairs: bool) -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(kind=kind, rank=3))
    products = products_of(adapter)
    assert len(products) == (len(adapter.modules) if pairs else 0)
    vector = np.random.default_rng(0).standard_normal(adapter.layout.size)
    adapter.load(vector.astype(np.float32))
    for product, module in zip(products, adapter.modules, strict=False):
        for ours, theirs in zip(product.factors(vector), module.factors(), strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
        copy = np.zeros_like(vector)
        product.put(copy, product.factors(vector))
        np.testing.assert_allclose(copy[product.b.slice], vector[product.b.slice])
        np.testing.assert_allclose(copy[product.a.slice], vector[product.a.slice], atol=1e-12)
