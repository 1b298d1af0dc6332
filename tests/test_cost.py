# SPDX-License-Identifier: Apache-2.0
"""The count of operations, against torch's own count of a real step."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.cost import Lengths, Shapes, shapes_of
from fedpeft.data.prompts import Example
from fedpeft.errors import ConfigError
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing import tiny_backbone
from fedpeft.training.batches import Chunk, UnitBatch
from fedpeft.training.execution import Execution
from fedpeft.training.gradients import unit_gradients

SHAPES = Shapes(blocks=(100, 100, 100, 100), head=1000, hidden=10)
LENGTHS = Lengths(20, 5)


def test_the_default_backbone() -> None:
    shapes = shapes_of(backbone_skeleton(ModelSettings()))
    assert len(shapes.blocks) == 30
    assert set(shapes.blocks) == {3_538_944}
    assert (shapes.head, shapes.hidden) == (49_152 * 576, 576)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("top", [1, 4])
def test_a_step_takes_what_was_counted(kind: str, top: int) -> None:
    backbone = tiny_backbone(kind, num_blocks=4, hidden=128)
    adapter = Adapter(backbone.model, AdapterSettings(layers=tuple(range(-top, 0)), rank=1))
    adapter.load(adapter.zeros())
    lengths = Lengths(16, 4)
    ids = torch.randint(0, 300, (16,), generator=torch.Generator().manual_seed(0)).numpy().astype("int32")
    batch = UnitBatch((Chunk((Example(ids, 12, truncated=False),), (0,)),), 1)
    with FlopCounterMode(display=False) as counter:
        unit_gradients(backbone.model, adapter, batch, Execution(whole=True))
    with FlopCounterMode(display=False) as fewer:
        unit_gradients(backbone.model, adapter, batch)
    shapes = shapes_of(backbone.model)
    counted = shapes.below(4 - top, lengths) + shapes.above(4 - top, lengths)
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.2)
    assert fewer.get_total_flops() < counter.get_total_flops()  # the last block where it is read


def test_work_counts_visits_and_with_a_cache_records_once() -> None:
    below, above = SHAPES.below(3, LENGTHS), SHAPES.above(3, LENGTHS)
    plain = SHAPES.work([30.0, 70.0], 0.5, 10, 3, LENGTHS, cache_bytes=0)
    assert plain == pytest.approx(500 * (below + above))
    cached = SHAPES.work([30.0, 70.0], 0.5, 10, 3, LENGTHS, cache_bytes=1e9)
    assert cached == pytest.approx(500 * above + 100 * (1 - 0.5**10) * below)
    part = SHAPES.work([100.0], 0.5, 10, 3, LENGTHS, cache_bytes=50 * (1 - 0.5**10) * 20 * 10 * 4)
    assert part == pytest.approx((plain + cached) / 2)
    once = [SHAPES.work([100.0], 0.5, 1, 3, LENGTHS, cache_bytes=b) for b in (0, 1e9)]
    assert once[0] == pytest.approx(once[1])


def test_lower_blocks_cost_more() -> None:
    costs = [SHAPES.below(lowest, LENGTHS) + SHAPES.above(lowest, LENGTHS) for lowest in (3, 2, 1, 0)]
    assert costs == sorted(set(costs))
    assert SHAPES.below(0, LENGTHS) == 0


@pytest.mark.parametrize(
    ("record", "response", "parts"),
    [
        (1, 1, ("--mean-length = 1", "at least 2")),
        (20, 20, ("--mean-response = 20", "from 1 to 19")),
        (20, 0, ("--mean-response = 0", "from 1 to 19")),
    ],
)
def test_impossible_lengths(record: int, response: int, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        Lengths(record, response)
    for part in parts:
        assert part in str(error.value)
