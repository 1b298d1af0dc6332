# SPDX-License-Identifier: Apache-2.0
"""The rule moves the adapter to the projected mean of the sites' models, and to nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpeft.aggregation.base import find
from fedpeft.aggregation.products import Product
from fedpeft.testing import run_tiny_federation
from fedpeft.types import Segment

ROWS, COLUMNS, RANK, REST = 9, 12, 3, 5
SIZE = ROWS * RANK + RANK * COLUMNS + REST
PRODUCT = Product(
    Segment("m.B", 0, "m.B", (ROWS, RANK), 0),
    Segment("m.A", 0, "m.A", (RANK, COLUMNS), ROWS * RANK),
    np.linalg.qr(np.random.default_rng(7).standard_normal((COLUMNS, RANK)))[0].T.copy(),
)


def updates(num_sites: int, scale: float = 0.3) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [scale * random.standard_normal(SIZE).astype(np.float32) for _ in range(num_sites)]


def aggregate(name: str, given: list[np.ndarray], weights: list[float], state: np.ndarray) -> np.ndarray:
    rule = find(name)(SIZE)
    rule.begin((PRODUCT,), state)
    for update, weight in zip(given, weights, strict=True):
        rule.add(update, weight)
    return rule.result()


def product_after(state: np.ndarray, step: np.ndarray) -> np.ndarray:
    b, a = PRODUCT.factors(state.astype(np.float64) + step)
    return b @ a


@pytest.mark.parametrize("first_round", [True, False])
def test_the_new_product_is_the_dense_mean_cut_to_the_rank(first_round: bool) -> None:
    state = np.zeros(SIZE, np.float32) if first_round else updates(1, 0.5)[0]
    given, weights = updates(4), [1.0, 2.0, 3.0, 4.0]
    dense = sum(w / 10 * product_after(state, u) for w, u in zip(weights, given, strict=True))
    u, values, v = np.linalg.svd(dense)
    nearest = (u[:, :RANK] * values[:RANK]) @ v[:RANK]
    step = aggregate("product-svd", given, weights, state)
    assert np.abs(product_after(state, step) - nearest).max() < 1e-6
    averaged = aggregate("mean", given, weights, state)
    assert np.linalg.norm(product_after(state, averaged) - dense) > 1.05 * np.linalg.norm(nearest - dense)


def test_what_is_no_product_is_averaged() -> None:
    given, weights = updates(3), [1.0, 1.0, 2.0]
    state = np.zeros(SIZE, np.float32)
    ours, mean = (aggregate(name, given, weights, state)[-REST:] for name in ("product-svd", "mean"))
    np.testing.assert_allclose(ours, mean, rtol=1e-12)


def test_one_site_goes_where_it_said() -> None:
    (given,), state = updates(1), updates(1, 0.5)[0]
    np.testing.assert_allclose(aggregate("product-svd", [given], [2.0], state), given, rtol=1e-6, atol=1e-8)


def test_sites_that_agree_go_where_they_said() -> None:
    (given,), state = updates(1), updates(1, 0.5)[0]
    result = aggregate("product-svd", [given] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], state)
    np.testing.assert_allclose(result, given, rtol=1e-5, atol=1e-7)


def test_a_federation_runs_with_it(tmp_path: Path) -> None:
    overrides = ['adapter.kind="lora"', 'federation.aggregation="product-svd"', "adapter.layers=[1]"]
    result = run_tiny_federation(tmp_path, rounds=2, overrides=overrides)
    assert result["rounds_completed"] == 2
    assert result["epsilon_spent"] <= result["epsilon"]


@pytest.mark.parametrize("kind", ["lora", "ffa"])
@pytest.mark.parametrize("rule", ["product-svd", "mean"])
def test_sites_of_different_ranks_run_together(tmp_path: Path, kind: str, rule: str) -> None:
    overrides = [
        f'adapter.kind="{kind}"', "adapter.rank=3", f'federation.aggregation="{rule}"', "adapter.layers=[1]",
        "sites.site0.rank=1",
    ]  # fmt: skip
    result = run_tiny_federation(tmp_path, rounds=2, overrides=overrides)
    (tmp_path / "alike").mkdir()
    alike = run_tiny_federation(tmp_path / "alike", rounds=2, overrides=overrides[:-1])
    assert result["rounds_completed"] == alike["rounds_completed"] == 2
    assert result["epsilon_spent_by_site"] == alike["epsilon_spent_by_site"]  # a rank costs no privacy
    assert result["bytes_up"] == pytest.approx(alike["bytes_up"] * (1 / 3 + 1) / 2)
    assert result["bytes_down"] == alike["bytes_down"]
