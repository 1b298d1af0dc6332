# SPDX-License-Identifier: Apache-2.0
"""The sets of blocks that are tried."""

from __future__ import annotations

import pytest

from fedpeft.selection.candidates import make_candidates, random_control, sizes_of

SCORES = [float(block % 7) for block in range(30)]


@pytest.mark.parametrize("count", [4, 16, 64, 200])
def test_as_many_different_sets_as_were_asked_for(count: int) -> None:
    candidates = make_candidates(range(30), SCORES, count, seed=0)
    layers = [candidate.layers for candidate in candidates]
    assert len(set(layers)) == len(layers) == count
    assert candidates[0].kind == "all"
    assert all(list(some) == sorted(set(some)) and some[0] >= 0 and some[-1] < 30 for some in layers)


def test_every_kind_is_among_them() -> None:
    kinds = {candidate.kind for candidate in make_candidates(range(30), SCORES, 64, seed=0)}
    assert kinds == {"all", "last", "contiguous", "top", "single", "random"}


def test_the_highest_scores_make_sets() -> None:
    sets = {c.layers: c.kind for c in make_candidates(range(30), SCORES, 64, seed=0)}
    assert sets[13, 20, 27] == "top"
    assert {sets[block,] for block in (6, 13, 20, 27)} == {"single"}


def test_a_given_size_holds_for_all_but_all() -> None:
    candidates = make_candidates(range(30), SCORES, 40, seed=0, size=5)
    assert {len(candidate.layers) for candidate in candidates[1:]} == {5}
    assert len(candidates) == 40


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
def test_a_backbone_of_few_blocks_has_few_sets(num_blocks: int) -> None:
    candidates = make_candidates(range(num_blocks), [1.0] * num_blocks, 64, seed=0)
    assert 1 <= len(candidates) < 2**num_blocks
    assert candidates[0].layers == tuple(range(num_blocks))


def test_the_seed_decides_what_is_random_and_nothing_else() -> None:
    first, again, other = (make_candidates(range(30), SCORES, 64, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    plain = [[c for c in some if c.kind != "random"] for some in (first, other)]
    assert plain[0] == plain[1]


def test_sizes_are_an_eighth_a_quarter_and_half() -> None:
    assert sizes_of(30, None) == (3, 7, 15)
    assert sizes_of(2, None) == (1,)
    assert sizes_of(30, 4) == (4,)


def test_sets_are_of_the_blocks_there_are_to_choose_from() -> None:
    blocks = (3, 4, 9, 10, 20, 21, 22, 29)
    candidates = make_candidates(blocks, [0.0, 0, 5, 0, 0, 4, 0, 0], 64, seed=0, size=2)
    assert candidates[0].layers == blocks
    assert candidates[1].layers == (22, 29)
    assert next(c for c in candidates if c.kind == "top").layers == (9, 21)
    assert {block for candidate in candidates for block in candidate.layers} <= {*blocks}
    control = random_control(blocks, 2, 0, [])
    assert control is not None
    assert {*control.layers} <= {*blocks}


def test_a_random_control_is_another_set_of_that_size() -> None:
    control = random_control(range(6), 3, 0, [(0, 1, 2)])
    assert control is not None
    assert len(control.layers) == 3
    assert control.layers != (0, 1, 2)
    assert random_control(range(3), 3, 0, [(0, 1, 2)]) is None
