# SPDX-License-Identifier: Apache-2.0
"""Exact gradients of each unit, from one forward and one backward pass over many.

The loss of an example is the mean over *its own* response tokens; a mean over the batch's tokens would
make one example's gradient depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.sink import GradientSink
from fedpeft.data.prompts import Example
from fedpeft.errors import BackboneError, MechanismError
from fedpeft.training.batches import Chunk, UnitBatch, to_tensors
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.head_loss import ends_with_head, row_losses
from fedpeft.training.prefix import feeding


def example_losses(
    model: nn.Module, examples: Sequence[Example], device: torch.device, how: Execution = PLAIN
) -> Tensor:
    """The loss of each example as ``(n,)``, in the precision of the logits, at least float32."""
    tensors = to_tensors(examples, device)
    apart = ends_with_head(model)
    with (
        how.autocasting(device),
        feeding(how.prefix, examples, tensors.input_ids),
        how.saving_memory(model),
        how.reading(model, tensors.rows, tensors.input_ids.shape),
    ):
        by_row = row_losses(
            model, tensors.input_ids, tensors.rows, tensors.targets, apart, how.loss_q, how.vocabulary
        )
    by_row = by_row * tensors.weights.to(by_row.dtype)
    owner = tensors.rows // tensors.input_ids.shape[1]
    return by_row.new_zeros(len(examples)).index_add(0, owner, by_row)


def unit_gradients(
    model: nn.Module, adapter: Adapter, batch: UnitBatch, how: Execution = PLAIN
) -> list[Tensor]:
    """For each segment the ``(num_units, *shape)`` gradients, summed over a unit's examples.

    Raises:
        BackboneError: a trained tensor that the loss does not reach.
        MechanismError: a batch without examples.
    """
    device = adapter.device
    totals: list[Tensor] | None = None
    for chunk in batch.chunks:
        with adapter.recording() as sink:
            losses = example_losses(model, chunk.examples, device, how)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        gradients = _by_unit(_taken(adapter, sink, len(chunk.examples)), chunk, batch.num_units)
        totals = gradients if totals is None else [a + b for a, b in zip(totals, gradients, strict=True)]
    if totals is None:
        raise MechanismError("unit_gradients: a batch without examples has no gradients")
    return totals


def _taken(adapter: Adapter, sink: GradientSink, num_examples: int) -> list[Tensor]:
    gradients: list[Tensor] = []
    for key, segment in enumerate(adapter.layout.segments):
        gradient = sink.take(key)
        if gradient is None:
            raise BackboneError(f"adapter.modules: no gradient reaches {segment.name}; leave this module out")
        if gradient.shape[0] != num_examples:
            raise BackboneError(
                f"adapter.modules: {segment.name} saw {gradient.shape[0]} sequences for {num_examples} "
                "examples; leave this module out"
            )
        gradients.append(gradient)
    return gradients


def _by_unit(gradients: list[Tensor], chunk: Chunk, num_units: int) -> list[Tensor]:
    if len(chunk.examples) == num_units:  # a unit each, in order
        return gradients
    index = torch.tensor(chunk.unit_of, device=gradients[0].device)
    return [g.new_zeros(num_units, *g.shape[1:]).index_add(0, index, g) for g in gradients]
