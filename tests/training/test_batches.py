# SPDX-License-Identifier: Apache-2.0
"""Micro-batches: every unit once and whole, within the budget, with as little padding as that allows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fedpeft.data.prompts import Example
from fedpeft.testing import dummy_examples
from fedpeft.training import batches
from fedpeft.training.batches import UnitBatch, plan_batches, token_budget

Unit = tuple[Example, ...]


def units_of(sizes: Sequence[Sequence[int]]) -> list[Unit]:
    return [tuple(dummy_examples(lengths, 300, seed)) for seed, lengths in enumerate(sizes)]


def padded(batch: UnitBatch) -> int:
    return sum(max(e.ids.size for e in chunk.examples) * len(chunk.examples) for chunk in batch.chunks)


@pytest.mark.parametrize("seed", range(5))
def test_every_unit_once_and_whole_within_the_budget(seed: int) -> None:
    random = np.random.default_rng(seed)
    units = units_of([random.integers(2, 60, random.integers(1, 5)).tolist() for _ in range(80)])
    found: list[int] = []
    for batch in plan_batches(units, 200):
        owners: dict[int, list[int]] = {}
        for chunk in batch.chunks:
            for example, owner in zip(chunk.examples, chunk.unit_of, strict=True):
                owners.setdefault(owner, []).append(id(example))
            assert len(chunk.examples) * max(e.ids.size for e in chunk.examples) <= 200
        assert sorted(owners) == list(range(batch.num_units))
        found += [hash(tuple(sorted(ids))) for ids in owners.values()]
    assert sorted(found) == sorted(hash(tuple(sorted(map(id, unit)))) for unit in units)


def test_one_example_longer_than_the_budget_goes_alone() -> None:
    found = list(plan_batches(units_of([[50], [4], [5]]), 20))
    assert [[e.ids.size for chunk in batch.chunks for e in chunk.examples] for batch in found] == [
        [4, 5],
        [50],
    ]


def test_no_units_are_no_batches() -> None:
    assert list(plan_batches([], 100)) == []


def test_few_tokens_are_padding_in_a_large_batch() -> None:
    lengths = np.random.default_rng(0).integers(8, 60, 256)
    found = list(plan_batches(units_of([[n] for n in lengths]), 2048))
    assert sum(map(padded, found)) < 1.05 * lengths.sum()


@pytest.mark.parametrize("seed", range(6))
def test_no_other_cuts_between_lengths_cost_less(seed: int) -> None:
    lengths = np.sort(np.random.default_rng(seed).integers(2, 40, 9))
    budget = 120
    distinct = np.unique(lengths)
    cheapest = min(
        _cost(lengths, distinct, cuts, budget)
        for count in range(len(distinct))
        for cuts in itertools.combinations(distinct[:-1], count)
    )
    groups = batches._of_like_length(units_of([[n] for n in lengths]), budget)
    longest = [group[-1][0].ids.size for group in groups]
    assert _cost(lengths, distinct, longest[:-1], budget) == pytest.approx(cheapest)


def _cost(lengths: np.ndarray, distinct: np.ndarray, cuts: Sequence[int], budget: int) -> float:
    total, low = 0.0, 0
    for high in [*cuts, int(distinct[-1])]:
        tokens = int(((lengths > low) & (lengths <= high)).sum()) * high
        total += tokens + batches._COST_OF_A_BATCH * np.ceil(tokens / budget)
        low = high
    return total


def test_the_budget_of_a_micro_batch_follows_the_device_unless_it_is_set():
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert token_budget(100, cpu) == token_budget(100, gpu) == 100
    assert token_budget("auto", cpu) < token_budget("auto", gpu)
