# SPDX-License-Identifier: Apache-2.0
"""Means of factors and what is carried beside them are the sites' mean model, round after round."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpeft.aggregation.base import maker
from fedpeft.aggregation.products import Product
from fedpeft.testing import run_tiny_federation
from fedpeft.types import Segment

ROWS, COLUMNS, RANK, REST, SITES = 9, 12, 2, 5, 4
SIZE = ROWS * RANK + RANK * COLUMNS + REST
START = np.linalg.qr(np.random.default_rng(7).standard_normal((COLUMNS, RANK)))[0].T.copy()
WEIGHTS = [1.0, 2.0, 3.0, 4.0]


def product_with(room: int) -> tuple[Product, int]:
    """A module whose residual has that rank, and how many numbers are carried for it."""
    left = Segment("m.residual.B", 0, "m.residual.B", (ROWS, room), SIZE)
    right = Segment("m.residual.A", 0, "m.residual.A", (room, COLUMNS), left.stop)
    b = Segment("m.B", 0, "m.B", (ROWS, RANK), 0)
    a = Segment("m.A", 0, "m.A", (RANK, COLUMNS), ROWS * RANK)
    return Product(b, a, START, (left, right)), right.stop - SIZE


def carried_product(product: Product, state: np.ndarray) -> np.ndarray:
    assert product.residual is not None
    left, right = (state[s.slice].reshape(s.shape).astype(np.float64) for s in product.residual)
    return left @ right


def model(product: Product, state: np.ndarray) -> np.ndarray:
    """All that is added to the weight."""
    b, a = product.factors(state[:SIZE].astype(np.float64))
    return b @ a + carried_product(product, state)


def play(room: int, rounds: int, rule: str = "fedex") -> tuple[list[float], np.ndarray, Product]:
    """How far each round's model is from the sites' mean model, and the last state."""
    product, num_carried = product_with(room)
    random, make = np.random.default_rng(1), maker(rule, (product,), num_carried)
    state, errors = np.zeros(SIZE + num_carried, np.float32), []
    for _ in range(rounds):
        aggregator, dense = make(state), np.zeros((ROWS, COLUMNS))
        for weight in WEIGHTS:
            update = 0.3 * random.standard_normal(SIZE).astype(np.float32)
            aggregator.add(update, weight)
            theirs = state.copy()
            theirs[:SIZE] += update
            dense += weight / sum(WEIGHTS) * model(product, theirs)
        moved = state[:SIZE] + aggregator.result()
        state = np.concatenate((moved, aggregator.carried_after())).astype(np.float32)
        errors.append(float(np.linalg.norm(model(product, state) - dense) / np.linalg.norm(dense)))
    return errors, state, product


def test_the_model_is_the_dense_mean_of_the_sites_models_in_every_round() -> None:
    errors, _, _ = play(room=9, rounds=4)
    assert max(errors) < 1e-6


def test_without_what_is_carried_it_is_not() -> None:
    """The control."""
    errors, _, _ = play(room=9, rounds=4, rule="mean")
    assert min(errors) > 0.1


def test_one_round_needs_no_more_than_the_ranks_of_all_sites_but_one() -> None:
    (error,), state, product = play(room=9, rounds=1)
    values = np.linalg.svd(carried_product(product, state), compute_uv=False)
    needed = (SITES - 1) * RANK
    assert error < 1e-6
    assert values[needed - 1] > 1e-3
    assert values[needed] < 1e-6 * values[0]
    assert product.residual is not None
    left = state[product.residual[0].slice].reshape(product.residual[0].shape)
    assert not left[:, needed:].any()  # so that an export is no wider than it must be
    (less,), _, _ = play(room=needed - 1, rounds=1)
    assert less > 1e-3


def test_with_less_room_the_nearest_matrix_is_kept() -> None:
    _, wide, product = play(room=9, rounds=1)
    _, narrow, small = play(room=3, rounds=1)
    u, values, v = np.linalg.svd(carried_product(product, wide))
    nearest = (u[:, :3] * values[:3]) @ v[:3]
    assert np.abs(carried_product(small, narrow) - nearest).max() < 1e-6


@pytest.mark.parametrize("num_sites", [1, 5])
def test_sites_that_agree_leave_nothing_over(num_sites: int) -> None:
    product, num_carried = product_with(4)
    state = np.zeros(SIZE + num_carried, np.float32)
    rule = maker("fedex", (product,), num_carried)(state)
    update = np.random.default_rng(3).standard_normal(SIZE).astype(np.float32)
    for _ in range(num_sites):
        rule.add(update, 2.0)
    np.testing.assert_allclose(rule.result(), update, rtol=1e-6)
    assert (
        np.abs(carried_product(product, np.concatenate((state[:SIZE], rule.carried_after())))).max() < 1e-12
    )


OVERRIDES = ['adapter.kind="lora"', "adapter.rank=2", 'federation.aggregation="fedex"', "adapter.layers=[1]"]


def test_a_federation_carries_and_exports_what_means_lack(tmp_path: Path) -> None:
    result = run_tiny_federation(tmp_path, num_sites=3, rounds=2, overrides=OVERRIDES)
    assert result["rounds_completed"] == 2
    assert result["epsilon_spent"] <= result["epsilon"]
    exported = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert exported["r"] == 2 + 2 * 2 * 2  # rank, and rounds x (sites - 1) x rank
    plain = [text for text in OVERRIDES if "fedex" not in text]
    (tmp_path / "plain").mkdir()
    other = run_tiny_federation(tmp_path / "plain", num_sites=3, rounds=2, overrides=plain)
    assert other["trainable_parameters"] == result["trainable_parameters"]
    assert other["bytes_up"] == result["bytes_up"]  # what is carried is not sent back
    assert other["bytes_down"] < result["bytes_down"]
