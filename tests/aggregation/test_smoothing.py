# SPDX-License-Identifier: Apache-2.0
"""Smoothing across layers: a linear map along chains of like tensors, with the noise that comes out of it."""

import numpy as np
import pytest

from fedpeft.aggregation.smoothing import Smoother
from fedpeft.types import Layout, Segment

# Two modules in blocks 2, 0, 1 and one tensor outside the blocks, in an order that is not the blocks'.
SHAPES = [
    ("q", 2, (2, 2)),
    ("q", 0, (2, 2)),
    ("v", 0, (3,)),
    ("q", 1, (2, 2)),
    ("head", -1, (2,)),
    ("v", 1, (3,)),
]


def _layout() -> Layout:
    segments, start = [], 0
    for module, block, shape in SHAPES:
        segments.append(Segment(f"{block}.{module}", block, module, shape, start))
        start = segments[-1].stop
    return Layout(tuple(segments))


LAYOUT = _layout()
VALUES = np.random.default_rng(0).standard_normal(LAYOUT.size)


def _chain(values: np.ndarray, module: str) -> np.ndarray:
    segments = sorted((s for s in LAYOUT.segments if s.module == module), key=lambda s: s.block)
    return np.stack([values[s.slice] for s in segments])


@pytest.mark.parametrize("module", ["q", "v"])
def test_it_solves_the_equation_of_the_chain(module):
    smoothed = _chain(Smoother(LAYOUT, 1.5).smooth(VALUES), module)
    for i in range(len(smoothed)):
        neighbours = [smoothed[j] for j in (i - 1, i + 1) if 0 <= j < len(smoothed)]
        pulled = smoothed[i] + 1.5 * sum(smoothed[i] - n for n in neighbours)
        np.testing.assert_allclose(pulled, _chain(VALUES, module)[i], atol=1e-12)


def test_what_layers_have_in_common_stays():
    np.testing.assert_allclose(Smoother(LAYOUT, 3.0).smooth(np.ones(LAYOUT.size)), np.ones(LAYOUT.size))


def test_what_stands_outside_the_blocks_stays():
    (head,) = [s for s in LAYOUT.segments if s.block < 0]
    np.testing.assert_array_equal(Smoother(LAYOUT, 3.0).smooth(VALUES)[head.slice], VALUES[head.slice])


def test_no_strength_changes_nothing():
    assert Smoother(LAYOUT, 0.0).smooth(VALUES) is VALUES
    assert Smoother(LAYOUT, 0.0).noise_after(VALUES) is VALUES


def test_the_noise_that_is_left_is_as_said():
    variance = np.linspace(0.5, 2.0, LAYOUT.size)
    draws = np.sqrt(variance) * np.random.default_rng(1).standard_normal((4000, LAYOUT.size))
    smoothed = np.array([Smoother(LAYOUT, 1.0).smooth(draw) for draw in draws])
    expected = Smoother(LAYOUT, 1.0).noise_after(variance)
    np.testing.assert_allclose(smoothed.var(axis=0), expected, rtol=0.12)
    in_blocks = [s for s in LAYOUT.segments if s.block >= 0]
    assert all((expected[s.slice] < 0.8 * variance[s.slice]).all() for s in in_blocks)
