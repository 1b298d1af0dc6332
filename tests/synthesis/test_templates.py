# SPDX-License-Identifier: Apache-2.0
"""The bundled pool: large enough, the same every time, each row with a lineage."""

from __future__ import annotations

from collections import Counter

from fedpeft.synthesis.templates import bundled_pool


def test_it_is_the_same_every_time() -> None:
    assert bundled_pool() == bundled_pool()


def test_rows_are_many_and_different() -> None:
    rows = bundled_pool()
    assert len(rows) > 1500
    assert len({row.id for row in rows}) == len(rows)
    assert len({(row.instruction, row.response) for row in rows}) == len(rows)
    assert all(row.instruction.strip() and row.response.strip() for row in rows)


def test_lineages_are_many_and_small() -> None:
    sizes = Counter(row.lineage for row in bundled_pool())
    assert len(sizes) > 100
    assert max(sizes.values()) <= 60


def test_no_slot_is_left_open() -> None:
    assert not [row for row in bundled_pool() if "{" in row.instruction + row.response]
