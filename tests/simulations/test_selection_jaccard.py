# SPDX-License-Identifier: Apache-2.0
"""The program for Jaccard indices: each choice once, wherever it stops, and figures that can be checked."""

from __future__ import annotations

import json

import pytest

from simulations import selection_jaccard as program
from simulations.grid.__main__ import Places
from tests.simulations.grid.conftest import EXPERIMENT
from tests.simulations.grid.conftest import places as places

CELLS = """
[[cells]]
name = "draw"
set = ['selection.selector="random-k"', "selection.size=1"]

[[cells]]
name = "last"
set = ['selection.selector="last-k"', "selection.size=1"]
"""


@pytest.fixture
def mine(places: Places) -> Places:
    (places.experiments / "tiny.toml").write_text(EXPERIMENT + CELLS)
    return places


def test_seeds_are_chosen_once_and_summarized(mine: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["tiny", "--cells", "draw", "last", "--seeds", "3"]
    assert program.main(["tiny", "--cells", "last", "--seeds", "1"], mine) == 0
    assert program.main(arguments, mine) == 0
    monkeypatch.setattr(program, "select", lambda *_: pytest.fail("chosen twice"))
    assert program.main(arguments, mine) == 0
    found = json.loads((mine.results / "tiny.jaccard.json").read_text())
    assert found["last"]["layers"] == [[1]] * 3
    assert found["last"]["jaccard"] == 1
    assert found["draw"]["seeds"] == [1, 2, 3]
    assert 0 <= found["draw"]["jaccard"] <= 1
    assert found["draw"]["chance"] == pytest.approx(0.5, abs=0.05)
    assert not (mine.work / "tiny-jaccard").exists()


def test_no_choice_is_begun_too_late(mine: Places) -> None:
    assert program.main(["tiny", "--cells", "last", "--minutes", "0"], mine) == 0
    assert json.loads((mine.results / "tiny.jaccard.json").read_text()) == {}


@pytest.mark.parametrize("name", ["plain", "absent"])
def test_a_cell_that_chooses_nothing_is_told(
    mine: Places, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["tiny", "--cells", name], mine) == 2
    assert "that chooses blocks; there are draw, last" in capsys.readouterr().err


def test_indices() -> None:
    assert program.jaccard(frozenset({1, 2}), frozenset({2, 3})) == pytest.approx(1 / 3)
    assert program.jaccard(frozenset({1}), frozenset({1})) == 1
    # Two of 4 from a pair: 0, 1/3 or 1 with chances 1/6, 4/6, 1/6.
    assert program.by_chance([2, 2, 2], 4) == pytest.approx(4 / 18 + 1 / 6, abs=0.02)
