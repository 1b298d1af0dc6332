# SPDX-License-Identifier: Apache-2.0
"""No lineage lies on both sides of a split."""

from __future__ import annotations

import random

import pytest

from fedpeft.data.records import Record
from fedpeft.errors import DataError
from fedpeft.selection.lineage import Split, split_by_lineage


def rows_of(families: int, siblings: int, tasks: int = 1) -> list[Record]:
    """Variations of texts that have nothing but their lineage in common."""
    words = random.Random(0)
    return [
        Record(f"{f}-{s}", f"origin {f}", "".join(words.choices("abcdefghij", k=12)), "yes", f"t{f % tasks}")
        for f in range(families)
        for s in range(siblings)
    ]


def parted_lineages(split: Split) -> set[str]:
    return {row.unit for row in split.train} & {row.unit for row in split.validation}


def test_no_lineage_is_parted_and_no_row_is_lost() -> None:
    rows = rows_of(20, 5)
    split = split_by_lineage(rows, 0.3, seed=0)
    assert parted_lineages(split) == set()
    assert {r.id for r in (*split.train, *split.validation)} == {r.id for r in rows}
    assert 0.2 <= len(split.validation) / len(rows) <= 0.4
    assert split.lineages == 20


def test_a_split_by_row_would_be_seen_to_leak() -> None:
    rows = rows_of(20, 5)
    by_row = Split(tuple(rows[::2]), tuple(rows[1::2]), 20)
    assert parted_lineages(by_row)


def test_texts_that_are_nearly_alike_count_as_one_lineage() -> None:
    rows = [
        Record(f"{i}", f"own {i}", f"Case {i}: Name  the {['sea', 'hill'][i % 2]}!", "a") for i in range(10)
    ]
    split = split_by_lineage(rows, 0.3, seed=0)
    assert split.lineages == 2
    assert len({row.instruction.split()[-1] for row in split.validation}) == 1


def test_a_chain_of_lineage_and_text_is_one_family() -> None:
    rows = [
        *rows_of(8, 1),
        Record("a", "one", "the sea", "a"),
        Record("b", "two", "The sea!", "a"),
        Record("c", "two", "a hill", "a"),
        Record("d", "three", "A hill?", "a"),
    ]
    for seed in range(20):
        split = split_by_lineage(rows, 0.5, seed=seed)
        sides = {any(row.id == name for row in split.train) for name in "abcd"}
        assert len(sides) == 1


def test_every_task_is_on_both_sides_where_its_lineages_allow() -> None:
    split = split_by_lineage(rows_of(24, 2, tasks=3), 0.3, seed=1)
    assert {row.task for row in split.train} == {row.task for row in split.validation} == {"t0", "t1", "t2"}


def test_order_of_rows_changes_nothing_and_the_seed_does() -> None:
    rows = rows_of(20, 3)
    mixed = random.Random(3).sample(rows, len(rows))
    first, again = (split_by_lineage(some, 0.3, seed=0).validation for some in (rows, mixed))
    assert {r.id for r in first} == {r.id for r in again}
    assert {r.id for r in first} != {r.id for r in split_by_lineage(rows, 0.3, seed=1).validation}


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_neither_side_is_ever_empty(share: float) -> None:
    split = split_by_lineage(rows_of(2, 4), share, seed=0)
    assert split.train
    assert split.validation


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "has 0 rows, at least 8 are needed"),
        (rows_of(7, 1), "has 7 rows"),
        (rows_of(1, 12), "all of one lineage"),
    ],
)
def test_rows_that_cannot_be_parted_are_refused(rows: list[Record], says: str) -> None:
    with pytest.raises(DataError, match=f"selection.data.*{says}"):
        split_by_lineage(rows, 0.3, seed=0)
