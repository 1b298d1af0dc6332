# SPDX-License-Identifier: Apache-2.0
"""What is far off is left out, what is left is averaged with its weights."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.aggregation.base import find
from fedpeft.aggregation.trimmed_mean import num_trimmed


def trimmed(values: list[list[float]], weights: list[float] | None = None) -> np.ndarray:
    rule = find("trimmed-mean")(len(values[0]))
    for value, weight in zip(values, weights or [1.0] * len(values), strict=True):
        rule.add(np.array(value, np.float32), weight)
    return rule.result()


@pytest.mark.parametrize(("num_sites", "cut"), [(1, 0), (2, 0), (3, 1), (5, 1), (9, 1), (10, 2), (25, 5)])
def test_a_fifth_is_left_out_at_either_end(num_sites: int, cut: int) -> None:
    assert num_trimmed(num_sites) == cut


def test_each_coordinate_by_itself() -> None:
    assert trimmed([[1, 9], [2, 8], [3, 7], [100, -50]]).tolist() == [2.5, 7.5]


def test_weights_are_of_those_that_are_left() -> None:
    assert trimmed([[0.0], [1.0], [2.0], [9.0]], [100.0, 1.0, 3.0, 100.0]).tolist() == [1.75]


def test_one_site_cannot_move_it_beyond_the_others() -> None:
    honest = np.random.default_rng(0).standard_normal((4, 6))
    for evil in (1e30, -1e30, 0.0):
        result = trimmed([*honest.tolist(), [evil] * 6])
        assert (result >= honest.min(0) - 1e-6).all()
        assert (result <= honest.max(0) + 1e-6).all()
    moved = find("mean")(6)
    for row in [*honest, np.full(6, 1e30)]:
        moved.add(row.astype(np.float32), 1.0)
    assert abs(moved.result()).max() > 1e28  # the control
