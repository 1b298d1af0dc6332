# SPDX-License-Identifier: Apache-2.0
"""Choices by hash: fixed for ever, of the right share, and blind to everything but their own unit."""

import random

import pytest

from fedpeft.data.records import Record
from fedpeft.data.split import choose_within_unit, is_held_out


def _record(name: str) -> Record:
    return Record(id=name, unit="u", instruction="q", response="a")


def test_split_never_moves_between_versions():
    # Records held out by one version must not train in the next.
    assert [unit for unit in map(str, range(40)) if is_held_out(unit, 0.1)] == ["21", "35"]


def test_share_is_the_fraction():
    held = sum(is_held_out(f"unit {number}", 0.1) for number in range(20_000))
    assert held == pytest.approx(2000, abs=200)  # under five standard deviations


def test_nothing_is_held_out_at_zero():
    assert not any(is_held_out(str(number), 0.0) for number in range(2000))


def test_a_larger_fraction_only_adds_units():
    small = {n for n in range(2000) if is_held_out(str(n), 0.1)}
    large = {n for n in range(2000) if is_held_out(str(n), 0.3)}
    assert small < large


def test_choice_within_a_unit_ignores_order():
    records = [_record(str(number)) for number in range(50)]
    shuffled = random.Random(0).sample(records, 50)
    assert choose_within_unit(records, 8) == choose_within_unit(shuffled, 8)


def test_choice_within_a_unit_is_no_prefix_of_the_file():
    records = [_record(str(number)) for number in range(50)]
    chosen = choose_within_unit(records, 8)
    assert len(chosen) == 8
    assert set(chosen) != set(records[:8])


def test_a_small_unit_is_kept_whole():
    records = [_record("a"), _record("b")]
    assert set(choose_within_unit(records, 8)) == set(records)


def test_one_more_record_displaces_at_most_one():
    records = [_record(str(number)) for number in range(50)]
    before = set(choose_within_unit(records, 8))
    after = set(choose_within_unit([*records, _record("new")], 8))
    assert len(before - after) <= 1
