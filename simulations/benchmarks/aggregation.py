# SPDX-License-Identifier: Apache-2.0
"""Rules of aggregation: seconds for `product-svd` on 30 blocks of 7 modules, and what a rule does to noise.

Speed: shapes of SmolLM2-135M, rank 16 at each of 7 sites. Noise: one module, both factors with Gaussian
noise of the same size at every site. Error is against the dense mean of the sites' products; noise is what
the result's product moves by under noise, squared, over the same for B alone averaged, A fixed (linear).
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

from fedpeft.aggregation.base import maker
from fedpeft.aggregation.products import Product, best_sum
from fedpeft.types import Segment
from simulations.benchmarks.shared.rows import Row

BAR_S = 2
_SITES, _RANK, _REPEATS = 7, 16, 3
_SHAPES = ((576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536))
_RULES = ("mean", "product-svd", "fedex", "trimmed-mean")
_NOISES = (0.01, 0.1, 1.0)


def run(quick: bool = False) -> dict[str, Any]:
    """Time, compare with the dense computation, and measure noise; ``quick``: one block, one repetition."""
    blocks, repeats = (1, 1) if quick else (30, _REPEATS)
    random = np.random.default_rng(0)
    modules = [_factors(random, shape) for _ in range(blocks) for shape in _SHAPES]
    weights = [1 / _SITES] * _SITES
    times = []
    for _ in range(repeats):
        started = perf_counter()
        found = [best_sum(factors, weights, _RANK) for factors in modules]
        times.append(perf_counter() - started)
    return {
        "modules": len(modules),
        "sites": _SITES,
        "rank": _RANK,
        "seconds": {"median": float(np.median(times)), "largest": max(times)},
        "error_to_dense": _error(modules[0], found[0]),
        "noise": [_noise(name, stddev, 4 if quick else 64) for name in _RULES for stddev in _NOISES],
    }


def _factors(random: np.random.Generator, shape: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    rows, columns = shape
    return [
        (random.standard_normal((rows, _RANK)), random.standard_normal((_RANK, columns)))
        for _ in range(_SITES)
    ]


def _error(factors: list[tuple[np.ndarray, np.ndarray]], found: tuple[np.ndarray, np.ndarray]) -> float:
    """The largest difference to the dense mean cut to the rank, over its largest entry."""
    dense = sum(b @ a for b, a in factors) / _SITES
    u, values, v = np.linalg.svd(dense, full_matrices=False)
    nearest = (u[:, :_RANK] * values[:_RANK]) @ v[:_RANK]
    return float(np.abs(found[0] @ found[1] - nearest).max() / np.abs(nearest).max())


def _noise(name: str, stddev: float, draws: int) -> dict[str, Any]:
    """Of one module of 64 x 48 at rank 4, sites whose models differ a little."""
    rows, columns, rank = 64, 48, 4
    random = np.random.default_rng(1)
    start = np.linalg.qr(random.standard_normal((columns, rank)))[0].T.copy()
    b, a = Segment("B", 0, "B", (rows, rank), 0), Segment("A", 0, "A", (rank, columns), rows * rank)
    size, room = rows * rank + rank * columns, (_SITES - 1) * rank
    left = Segment("residual.B", 0, "residual.B", (rows, room), size)
    right = Segment("residual.A", 0, "residual.A", (room, columns), left.stop)
    product = Product(b, a, start, (left, right))
    common = random.standard_normal(size) / 8
    clean = [(common + random.standard_normal(size) / 32).astype(np.float32) for _ in range(_SITES)]
    state = np.zeros(right.stop if name == "fedex" else size, np.float32)
    dense = sum(_product(product, update) for update in clean) / _SITES
    without = _aggregate(name, product, clean, state)
    energy, linear = 0.0, 0.0
    for _ in range(draws):
        noisy = [u + (stddev * random.standard_normal(size)).astype(np.float32) for u in clean]
        energy += float(np.sum((_aggregate(name, product, noisy, state) - without) ** 2))
        noise_b = np.mean([u[b.slice] - v[b.slice] for u, v in zip(noisy, clean, strict=True)], axis=0)
        linear += float(np.sum(noise_b**2))  # what B alone would add, A fixed with orthonormal rows
    return {
        "rule": name,
        "stddev": stddev,
        "error_to_dense_mean": float(np.linalg.norm(without - dense) / np.linalg.norm(dense)),
        "noise_over_linear": energy / linear,
    }


def _product(product: Product, vector: np.ndarray) -> np.ndarray:
    b, a = product.factors(vector.astype(np.float64))
    return b @ a


def _aggregate(name: str, product: Product, updates: list[np.ndarray], state: np.ndarray) -> np.ndarray:
    """What a rule adds to the weight, what it carries beside the factors included."""
    rule = maker(name, (product,), state.size - updates[0].size)(state)
    for update in updates:
        rule.add(update, 1.0)
    factors, carried = _product(product, rule.result()), rule.carried_after()
    if not carried.size or product.residual is None:
        return factors
    left, right = product.residual
    first = carried[: left.size].reshape(left.shape).astype(np.float64)
    return factors + first @ carried[left.size :].reshape(right.shape)


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    seconds, error = result["seconds"], result["error_to_dense"]
    what = f"{result['modules']} modules, rank {result['rank']} from {result['sites']} sites"
    return [
        Row(
            f"sum of products, {what}", "", f"<= {BAR_S} s",
            f"{seconds['median']:.2f} s (largest {seconds['largest']:.2f} s)", seconds["largest"] <= BAR_S,
        ),
        Row("the same against dense, largest entry", "", "<= 1e-6", f"{error:.1e}", error <= 1e-6),
    ]  # fmt: skip


def details(result: Mapping[str, Any]) -> str:
    """Noise by rule."""
    lines = ["| rule | noise in a coordinate | error to the dense mean | noise over that of linear updates |"]
    lines += ["|---|--:|--:|--:|"]
    lines += [
        f"| {n['rule']} | {n['stddev']:g} | {n['error_to_dense_mean']:.3f} | {n['noise_over_linear']:.2f} |"
        for n in result["noise"]
    ]
    return "\n".join(lines)
