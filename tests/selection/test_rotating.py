# SPDX-License-Identifier: Apache-2.0
"""Turns: as many blocks as asked for, all in turn, a function of public numbers alone."""

from __future__ import annotations

from collections import Counter

import pytest

from fedpeft.selection.base import Inputs, find
from fedpeft.selection.rotating import schedule
from fedpeft.stage_settings import SelectionSettings


@pytest.mark.parametrize(("blocks", "size", "rounds", "period"), [(8, 2, 12, 1), (8, 3, 11, 2), (5, 5, 4, 1)])
def test_every_block_has_its_turn_before_any_has_two_more(
    blocks: int, size: int, rounds: int, period: int
) -> None:
    found = schedule(range(blocks), size, rounds, period, seed=3)
    assert len(found) == rounds
    assert all(len(set(layers)) == size for layers in found)
    turns = found[::period]
    assert all(found[i] == turns[i // period] for i in range(rounds))
    for end in range(1, len(turns) + 1):
        counts = Counter(dict.fromkeys(range(blocks), 0))
        counts.update(block for layers in turns[:end] for block in layers)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_the_seed_alone_decides() -> None:
    assert schedule(range(30), 4, 8, 1, 0) == schedule(range(30), 4, 8, 1, 0)
    assert schedule(range(30), 4, 8, 1, 0) != schedule(range(30), 4, 8, 1, 1)


def test_what_never_has_a_turn_is_no_part_of_the_adapter() -> None:
    settings = SelectionSettings(selector="rotating", size=2)
    found = find("rotating").choose(Inputs(tuple(range(30)), settings, rounds=3))
    assert len(found.layers) == 6
    assert len(found.rounds) == 3


def test_only_the_blocks_there_are_to_choose_from_have_turns() -> None:
    settings = SelectionSettings(selector="rotating", size=2)
    assert find("rotating").choose(Inputs((4, 6, 9), settings, rounds=4)).layers == (4, 6, 9)
