# SPDX-License-Identifier: Apache-2.0
"""Micro-batches of whole units under a token budget.

Units are sorted by length, so that little is padded. How units are grouped changes memory and speed, and
the sums by rounding only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from fedpeft.data.prompts import Example

_COST_OF_A_BATCH: Final = 24.0  # tokens that a micro-batch costs whatever is in it, roughly, on a CPU
_AUTO_ON_CPU: Final = 1024
_AUTO_ELSEWHERE: Final = 4096


@dataclass(frozen=True, slots=True)
class Chunk:
    """Examples that go through the model together; ``unit_of[i]`` is the unit of example i."""

    examples: tuple[Example, ...]
    unit_of: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UnitBatch:
    """Whole units; several chunks only where one unit alone exceeds the token budget."""

    chunks: tuple[Chunk, ...]
    num_units: int

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return sum(example.ids.size for chunk in self.chunks for example in chunk.examples)


@dataclass(frozen=True, slots=True)
class Tensors:
    """A chunk as the model takes it.

    Attributes:
        input_ids: ``(n, T)`` int64, padded on the right.
        rows: ``(R,)`` positions in the flattened ``(n * T)`` grid that predict a response token.
        targets: ``(R,)`` the tokens they predict.
        weights: ``(R,)`` float64, one over the number of response tokens of the row's example.
    """

    input_ids: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor


def token_budget(max_tokens: int | Literal["auto"], device: torch.device) -> int:
    """Padded tokens of a micro-batch: as configured, or what suits the device.

    On a CPU fewer tokens need less memory; products of few rows are slower.
    """
    if max_tokens == "auto":
        return _AUTO_ON_CPU if device.type == "cpu" else _AUTO_ELSEWHERE
    return max_tokens


def plan_batches(units: Sequence[tuple[Example, ...]], max_tokens: int) -> Iterator[UnitBatch]:
    """Group units into micro-batches of at most ``max_tokens`` padded tokens each.

    A single example longer than ``max_tokens`` makes a batch of its own.
    """
    for group in _of_like_length(sorted(units, key=_longest), max_tokens):
        yield from _fill(group, max_tokens)


def _fill(units: Sequence[tuple[Example, ...]], max_tokens: int) -> Iterator[UnitBatch]:
    """Cut units, shortest first, wherever the budget ends."""
    pending: list[tuple[Example, ...]] = []
    for unit in units:
        count = sum(map(len, pending)) + len(unit)
        if pending and count * _longest(unit) > max_tokens:
            yield _one_chunk(pending)
            pending = []
        if not pending and len(unit) * _longest(unit) > max_tokens:
            yield _split_unit(unit, max_tokens)
        else:
            pending.append(unit)
    if pending:
        yield _one_chunk(pending)


def _of_like_length(
    units: Sequence[tuple[Example, ...]], max_tokens: int
) -> Iterator[Sequence[tuple[Example, ...]]]:
    """Cut sorted units into groups such that padding and micro-batches together cost the least.

    The best cuts between distinct lengths, by dynamic programming: a group costs its padded tokens and as
    much again for each micro-batch as ``_COST_OF_A_BATCH`` tokens.
    """
    lengths, starts = np.unique([_longest(unit) for unit in units], return_index=True)
    examples = np.concatenate([[0], np.cumsum([len(unit) for unit in units])])
    first = examples[starts]  # examples before those of each length
    best, cut = np.zeros(len(lengths) + 1), np.zeros(len(lengths) + 1, dtype=np.int64)
    for end in range(1, len(lengths) + 1):
        last = examples[starts[end]] if end < len(lengths) else examples[-1]
        padded = (last - first[:end]) * lengths[end - 1]
        costs = best[:end] + padded + _COST_OF_A_BATCH * np.ceil(padded / max_tokens)
        cut[end] = int(np.argmin(costs))
        best[end] = costs[cut[end]]
    bounds = [len(lengths)]
    while bounds[-1] > 0:
        bounds.append(int(cut[bounds[-1]]))
    edges = [*starts, len(units)]
    for low, high in itertools.pairwise(reversed(bounds)):
        yield units[edges[low] : edges[high]]


def to_tensors(examples: Sequence[Example], device: torch.device) -> Tensors:
    """Pad ``examples`` on the right and find the rows whose loss counts.

    Padding needs no mask: under causal attention no real token sees what stands to its right.
    """
    width = max(example.ids.size for example in examples)
    ids = np.zeros((len(examples), width), dtype=np.int64)
    rows, targets, weights = [], [], []
    for i, example in enumerate(examples):
        ids[i, : example.ids.size] = example.ids
        response = np.arange(example.num_prompt, example.ids.size)
        rows.append(i * width + response - 1)
        targets.append(example.ids[response].astype(np.int64))
        weights.append(np.full(response.size, 1.0 / max(1, response.size)))
    arrays = (ids, np.concatenate(rows), np.concatenate(targets), np.concatenate(weights))
    return Tensors(*(_to(array, device) for array in arrays))


def _to(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _longest(unit: tuple[Example, ...]) -> int:
    return max(example.ids.size for example in unit)


def _one_chunk(units: Sequence[tuple[Example, ...]]) -> UnitBatch:
    examples = tuple(example for unit in units for example in unit)
    unit_of = tuple(i for i, unit in enumerate(units) for _ in unit)
    return UnitBatch((Chunk(examples, unit_of),), len(units))


def _split_unit(unit: tuple[Example, ...], max_tokens: int) -> UnitBatch:
    size = max(1, max_tokens // _longest(unit))
    parts = [unit[start : start + size] for start in range(0, len(unit), size)]
    return UnitBatch(tuple(Chunk(part, (0,) * len(part)) for part in parts), 1)
