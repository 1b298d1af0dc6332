# SPDX-License-Identifier: Apache-2.0
"""The part of an adapter that a site of smaller rank trains: cut, taken and put back, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.settings import AdapterSettings
from fedpeft.testing import tiny_backbone
from fedpeft.types import Layout, Part, Segment

WHOLE = Layout((Segment("m.B", 0, "m.B", (3, 2), 0), Segment("m.A", 0, "m.A", (2, 4), 6)))
PART = Part(WHOLE, Layout((Segment("m.B", 0, "m.B", (3, 1), 0), Segment("m.A", 0, "m.A", (1, 4), 3))), 1)


def test_a_part_is_the_first_columns_of_b_and_rows_of_a() -> None:
    b, a = np.arange(6.0).reshape(3, 2), 10 + np.arange(8.0).reshape(2, 4)
    taken = PART.take(np.concatenate((b.ravel(), a.ravel())))
    assert taken.tolist() == [*b[:, 0], *a[0]]


def test_cutting_many_gradients_is_taking_from_each() -> None:
    gradients = [torch.randn(5, 3, 2), torch.randn(5, 2, 4)]
    cut = PART.cut(gradients)
    assert [tuple(g.shape) for g in cut] == [(5, 3, 1), (5, 1, 4)]
    for i in range(5):
        flat = np.concatenate([g[i].numpy().ravel() for g in gradients])
        own = np.concatenate([g[i].numpy().ravel() for g in cut])
        np.testing.assert_array_equal(own, PART.take(flat))


def test_lifting_leaves_zeros_where_nothing_was_trained() -> None:
    values = 1 + np.arange(7.0)
    lifted = PART.lift(values)
    assert lifted.shape == (14,)
    np.testing.assert_array_equal(PART.take(lifted), values)
    assert np.count_nonzero(lifted) == 7


def test_everything_is_left_as_it_is() -> None:
    part, values = Part.everything(WHOLE), np.arange(14.0)
    assert part.lift(values) is values
    assert part.take(np.arange(20.0)).tolist() == values.tolist()  # what is carried comes after it


@pytest.mark.parametrize("kind", ["ffa", "lora", "lora-xs"])
def test_the_rest_of_the_update_is_out_of_a_parts_reach(kind: str) -> None:
    """What a part holds moves the leading directions alone, in every module of a real adapter."""
    adapter = Adapter(tiny_backbone().model, AdapterSettings(kind=kind, rank=4))
    part = adapter.part(2)
    assert 0 < part.size < adapter.layout.size
    adapter.load(part.lift(np.random.default_rng(0).standard_normal(part.size)).astype(np.float32))
    tensors = [tensor for module in adapter.modules for tensor in module.trained()]
    for tensor, segment in zip(tensors, part.layout.segments, strict=True):
        rest, corner = tensor.clone(), tuple(map(slice, segment.shape))
        assert rest[corner].all()
        rest[corner] = 0.0
        assert not rest.any()


@pytest.mark.parametrize("rank", [0, 4])
def test_the_full_rank_is_everything(rank: int) -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=4))
    assert adapter.part(rank) == Part.everything(adapter.layout)


def test_what_is_carried_changes_the_digest_and_not_what_is_trained() -> None:
    carried = (Segment("m.residual.B", 0, "m.residual.B", (3, 1), 14),)
    assert Layout(WHOLE.segments, carried).digest != WHOLE.digest
    assert (Layout(WHOLE.segments, carried).size, Layout(WHOLE.segments, carried).state_size) == (14, 17)
    assert (WHOLE.size, WHOLE.state_size) == (14, 14)
