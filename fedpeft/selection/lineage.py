# SPDX-License-Identifier: Apache-2.0
"""Training and validation rows that share no origin.

Synthetic rows are often variations of one another. Parted row by row, validation would reward remembering a
sibling; so whole lineages go to one side, and rows whose texts are nearly alike count as of one lineage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from fedpeft.data.likeness import plain
from fedpeft.data.records import Record
from fedpeft.data.split import keyed_hash
from fedpeft.errors import DataError

_KEY: Final = b"fedpeft lineage split 1"
FEWEST_ROWS: Final = 8


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to train on and rows to score on, none of one lineage on both sides.

    Attributes:
        lineages: how many there are over both.
    """

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    lineages: int


def split_by_lineage(rows: Sequence[Record], share: float, seed: int) -> Split:
    """Part rows by lineage, task by task as far as lineages allow.

    Args:
        rows: public or synthetic; ``unit`` is the lineage. Rows whose instructions or texts differ in nothing
            but case, digits, spaces and punctuation count as of one lineage too.
        share: of the rows for validation, in (0, 1).
        seed: public; another one gives another split.

    Raises:
        DataError: fewer than ``FEWEST_ROWS`` rows, or all of one lineage.
    """
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"selection.data: has {len(rows)} rows, at least {FEWEST_ROWS} are needed to train on some and "
            "score on others; give more"
        )
    families = _families(rows)
    if len(families) < 2:
        raise DataError(
            f"selection.data: its {len(rows)} rows are all of one lineage, so none can validate what the "
            "others train; give rows of at least 2"
        )
    chosen = _validation(rows, families, share, seed)
    train = tuple(row for i, row in enumerate(rows) if i not in chosen)
    return Split(train, tuple(rows[i] for i in sorted(chosen)), len(families))


def _validation(rows: Sequence[Record], families: list[list[int]], share: float, seed: int) -> set[int]:
    """Indices of the rows to score on: families by hash, each task in turn until it has its share."""
    ordered = sorted(families, key=lambda family: (keyed_hash(f"{seed} {_name(rows, family)}", _KEY), family))
    sizes: dict[str, int] = defaultdict(int)
    for row in rows:
        sizes[row.task] += 1
    room = {task: share * size for task, size in sizes.items()}
    chosen: set[int] = set()
    for family in ordered[:-1]:  # one is left to train on whatever the share
        task = rows[family[0]].task
        if room[task] >= len(family) / 2:
            room[task] -= len(family)
            chosen.update(family)
    return chosen or set(sorted(ordered, key=len)[0])


def _name(rows: Sequence[Record], family: list[int]) -> str:
    """The same in whatever order rows come."""
    return min(f"{rows[i].unit}\0{rows[i].id}" for i in family)


def _families(rows: Sequence[Record]) -> list[list[int]]:
    """Indices of rows that belong together, by lineage or text, whatever the chain between them."""
    parent = list(range(len(rows)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[Hashable, int] = {}
    for index, row in enumerate(rows):
        for key in _keys(row):
            parent[root(index)] = root(first.setdefault(key, index))
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        members[root(index)].append(index)
    return list(members.values())


def _keys(row: Record) -> list[Hashable]:
    before = tuple(plain(turn.content) for turn in row.before)
    text = plain(row.instruction)
    keys: list[Hashable] = [("lineage", row.unit)]
    if text:  # nothing but digits or signs: no ground for being alike
        keys.append(("text", before, text))
    return keys
