# SPDX-License-Identifier: Apache-2.0
"""The check before the first private step: does this backbone train privately, and does it train at all?

On public dummy tokens it makes sure that no example moves another's gradient - neither by what stands in it
(batch normalization, expert capacity) nor by how long it is (attention to padding, positions that stretch
with the batch) - that every segment gets a gradient, and that a step in the vector changes the loss as the
gradients say (hooks on stale parameters would let epsilon grow while no weight moves).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.errors import BackboneError
from fedpeft.training.batches import Chunk, UnitBatch
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import example_losses, unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore
from fedpeft.types import FloatVector

_LENGTHS: Final = (12, 9, 12)
_INFLUENCE: Final = 1e-4  # of an example's gradient, in float32
_ROUNDS_BADLY: Final = 10.0  # times that, in float32, in a first draw that two more must clear
_MORE_DRAWS: Final = 2
_PROBE_BYTES: Final = 1 << 26
_STEP: Final = 2e-3  # of the loss, so that rounding stays far below and curvature is not felt
_STEP_IN_HALF: Final = 1e-2  # where rounding is that coarse
_HALF: Final = (torch.bfloat16, torch.float16)


def probe(model: nn.Module, adapter: Adapter, max_length: int, how: Execution = PLAIN) -> None:
    """Refuse a backbone or a choice of modules that cannot be trained privately.

    Leaves the zero vector loaded.

    Args:
        model: with ``adapter`` attached.
        adapter: to be trained.
        max_length: tokens of the longest example that can come.
        how: the run computes gradients; must give the same ones.

    Raises:
        BackboneError: with the segment or the reason.
    """
    _check_positions(model, max_length)
    random = np.random.default_rng(0)
    start = (0.01 * random.standard_normal(adapter.layout.size)).astype(np.float32)
    adapter.load(start)
    try:
        examples = _dummy_examples(model, random)
        gradients = _gradients(model, adapter, examples)
        _check_reach(adapter, gradients)
        changed = [examples[0], _example(model, random, _LENGTHS[1]), examples[2]]
        _check_same(adapter, gradients, _gradients(model, adapter, changed), (0, 2))
        _check_lengths(model, adapter, random, max_length)
        _check_step(model, adapter, examples, gradients, start)
        _check_execution(model, adapter, [*examples, _label(model, random, max_length)], how)
    finally:
        adapter.load(adapter.zeros())


def _check_positions(model: nn.Module, max_length: int) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and max_length > positions:
        raise BackboneError(
            f"data.max_length: {max_length} is above the {positions} positions of the backbone; lower it"
        )


def _dummy_examples(model: nn.Module, random: np.random.Generator) -> list[Example]:
    return [_example(model, random, length) for length in _LENGTHS]


def _example(model: nn.Module, random: np.random.Generator, length: int) -> Example:
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    return Example(random.integers(0, vocabulary, length).astype(np.int32), num_prompt=4, truncated=False)


def _label(model: nn.Module, random: np.random.Generator, length: int) -> Example:
    """A response of one token, beside which the fewest positions are read."""
    return replace(_example(model, random, length), num_prompt=length - 1)


def _gradients(
    model: nn.Module, adapter: Adapter, examples: list[Example], how: Execution = PLAIN
) -> list[Tensor]:
    chunk = Chunk(tuple(examples), tuple(range(len(examples))))
    return unit_gradients(model, adapter, UnitBatch((chunk,), len(examples)), how)


def _check_reach(adapter: Adapter, gradients: list[Tensor]) -> None:
    still = [
        segment.name
        for segment, gradient in zip(adapter.layout.segments, gradients, strict=True)
        if not bool(gradient.isfinite().all()) or not bool(gradient.any())
    ]
    if still:
        raise BackboneError(
            f"adapter.modules: no usable gradient reaches {', '.join(still[:3])}"
            f"{f' and {len(still) - 3} more' if len(still) > 3 else ''}; leave these modules out"
        )


def _check_lengths(model: nn.Module, adapter: Adapter, random: np.random.Generator, max_length: int) -> None:
    """A short example alone, beside the longest there can be, and alone again: a model may keep state.

    On some tokens a deep backbone rounds far worse than on most. What depends on neighbours does
    so on any tokens: a first draw that is slightly off is judged by two more.
    """
    for draw in range(1 + _MORE_DRAWS):
        short, long = _example(model, random, _LENGTHS[0]), _example(model, random, max_length)
        alone = _gradients(model, adapter, [short])
        beside, again = (_gradients(model, adapter, some) for some in ([short, long], [short]))
        slack = _ROUNDS_BADLY if draw == 0 and alone[0].dtype not in _HALF else 1.0
        most = _check_same(adapter, alone, beside, (0,), slack)
        _check_same(adapter, alone, again, (0,))
        if draw == 0 and most <= _tolerance(alone[0]):
            return


def _check_same(
    adapter: Adapter, before: list[Tensor], after: list[Tensor], examples: tuple[int, ...], slack: float = 1.0
) -> float:
    """How far a segment of one of ``examples`` moved most, relative to the length of its whole gradient."""
    most = 0.0
    for i in examples:
        norm = float(torch.stack([g[i].double().norm() for g in before]).norm())
        for segment, one, other in zip(adapter.layout.segments, before, after, strict=True):
            moved = float((one[i].double() - other[i].double()).norm())
            if not moved <= slack * _tolerance(one) * norm:
                raise BackboneError(
                    f"model.backbone: in {segment.name} one example's gradient depends on another example "
                    f"(moved by {moved:.2g} of {norm:.2g}); such a backbone has no per-example privacy: "
                    "use another, or a smaller data.max_length"
                )
            most = max(most, moved / norm if norm > 0 else 0.0)
    return most


def _check_execution(model: nn.Module, adapter: Adapter, examples: list[Example], how: Execution) -> None:
    """The ways to save time and memory move nothing, the first time and when states are kept."""
    plain = Execution(autocast=how.autocast, loss_q=how.loss_q, whole=True)
    expected = _gradients(model, adapter, examples, plain)
    found = _gradients(model, adapter, examples, replace(plain, whole=False))
    if not _agree(expected, found):
        raise BackboneError(
            "model.backbone: its last block gives other gradients where it is computed only at the positions "
            "that are read; set training.activation_checkpointing = true, which computes it whole"
        )
    if how.prefix is None and not how.checkpointing:
        return
    how = replace(how, vocabulary=())  # made-up tokens are of no list of responses
    if how.prefix is not None:  # states of made-up tokens do not belong into the run's own
        how = replace(how, prefix=PrefixCache(model, how.prefix.block, StateStore(_PROBE_BYTES)))
    for _visit in range(2):
        if not _agree(expected, _gradients(model, adapter, examples, how)):
            raise BackboneError(
                "training.prefix_cache, training.activation_checkpointing: change the gradients of this "
                'backbone; set them to "off" and false'
            )


def _agree(expected: list[Tensor], found: list[Tensor]) -> bool:
    num_examples = len(expected[0])
    return all(_moved(expected, found, i) <= _tolerance(expected[0]) for i in range(num_examples))


def _moved(before: list[Tensor], after: list[Tensor], i: int) -> float:
    """How far example ``i``'s gradient moved, relative to its length."""
    pairs = [(one[i].double(), other[i].double()) for one, other in zip(before, after, strict=True)]
    moved = torch.stack([(one - other).norm() for one, other in pairs]).norm()
    return float(moved / torch.stack([one.norm() for one, _ in pairs]).norm())


def _check_step(
    model: nn.Module, adapter: Adapter, examples: list[Example], gradients: list[Tensor], start: FloatVector
) -> None:
    gradient = np.concatenate([g.sum(0).flatten().double().cpu().numpy() for g in gradients])
    square = float(gradient @ gradient)
    share = _STEP_IN_HALF if gradients[0].dtype in _HALF else _STEP
    size = share * _loss(model, adapter, examples, start) / square
    up = _loss(model, adapter, examples, start + size * gradient)
    down = _loss(model, adapter, examples, start - size * gradient)
    expected, actual = 2 * size * square, up - down
    if not abs(actual - expected) <= 0.25 * expected:
        raise BackboneError(
            f"model.backbone: a step in the adapter should change the loss by {expected:.3g} and changes "
            f"it by {actual:.3g}; the adapter does not reach the model as it runs: use another"
        )


def _loss(model: nn.Module, adapter: Adapter, examples: list[Example], values: np.ndarray) -> float:
    adapter.load(values.astype(np.float32))
    with torch.no_grad():
        return float(example_losses(model, examples, adapter.device).sum())


def _tolerance(gradient: Tensor) -> float:
    return 0.05 if gradient.dtype in _HALF else _INFLUENCE
