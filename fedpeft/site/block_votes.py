# SPDX-License-Identifier: Apache-2.0
"""What a record's vote on blocks is made of: how long the gradient of each block of the adapter is.

Shorter blocks of the same gradient learn less from the record. The map is public - the backbone, the adapter
at an update of zero, the loss - and looks at one record at a time, so that a unit's vote is a function of
that unit alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients
from fedpeft.training.local import Units
from fedpeft.types import Layout

_TOGETHER: Final = 64
"""Units whose records share micro-batches; speed and memory only."""

Points = npt.NDArray[np.float64]


def num_blocks(layout: Layout) -> int:
    """How many blocks have a part of the adapter: the dimension of the map."""
    return len(layout.blocks)


def block_points(
    model: nn.Module, adapter: Adapter, units: Units, max_tokens: int, how: Execution = PLAIN
) -> Iterator[Points]:
    """For each unit ``(n, num_blocks)``, a row for each of its records, blocks in ascending order.

    Args:
        model: the frozen backbone.
        adapter: attached to it; it is loaded with zeros, and nothing else may be loaded meanwhile.
        units: the site's training units.
        max_tokens: padded tokens in a micro-batch.
        how: speed and memory.
    """
    adapter.load(adapter.zeros())
    all_units = list(units.values())
    for start in range(0, len(all_units), _TOGETHER):
        group = all_units[start : start + _TOGETHER]
        examples = [example for own in group for example in own]
        lengths = _lengths(model, adapter, examples, max_tokens, how) if examples else {}
        for own in group:
            yield np.array([lengths[id(e)] for e in own]).reshape(len(own), num_blocks(adapter.layout))


def _lengths(
    model: nn.Module, adapter: Adapter, examples: Sequence[Example], max_tokens: int, how: Execution
) -> dict[int, Points]:
    """``(num_blocks,)`` by the identity of each example."""
    blocks = _blocks(adapter.layout)
    found: dict[int, Points] = {}
    for batch in plan_batches([(example,) for example in examples], max_tokens):
        squares = np.zeros((batch.num_units, len(blocks)))
        gradients = unit_gradients(model, adapter, batch, how)
        for segment, gradient in zip(adapter.layout.segments, gradients, strict=True):
            norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
            squares[:, blocks[segment.block]] += norms.square().cpu().numpy()
        ordered = (example for chunk in batch.chunks for example in chunk.examples)
        found.update((id(example), row) for example, row in zip(ordered, np.sqrt(squares), strict=True))
    return found


def _blocks(layout: Layout) -> dict[int, int]:
    """The place of each block that has a part of the adapter."""
    return {block: place for place, block in enumerate(layout.blocks)}
