# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a run: a board on a terminal, a line for each round elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fedpeft.cli.board import Board
from fedpeft.cli.live import LiveView, showing_run
from fedpeft.cli.progress import TerminalProgress
from fedpeft.testing import tiny_config
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(**changes: object) -> JsonDict:
    usual = {
        "answered": ["a", "b"],
        "refused": {},
        "dropped": {},
        "missing": [],
        "epsilon_spent": 2.0,
        "epsilon_spent_less": {},
        "seconds": {"train": 1.0},
    }
    return usual | changes


def drawn(board: Board) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(board)
    return console.export_text()


def metrics(value: float | None) -> JsonDict:
    return {"ranking_accuracy": {"value": value, "low": None, "high": None}}


def test_it_shows_sites_spending_figures_and_the_time_left() -> None:
    clock = Clock()
    board = Board(4, {"a": 8.0, "b": 5.0}, clock)
    assert "round 1 of 4" in drawn(board)
    assert "left" not in drawn(board)
    board.evaluated(0, metrics(0.25))
    board.working("b")
    assert "at work" in drawn(board)
    clock.now = 30.0
    board.round_done(1, record(epsilon_spent_less={"b": 1.5}))
    board.evaluated(1, metrics(0.5))
    text = drawn(board)
    assert "round 2 of 4, about 90 s left" not in text
    assert "round 2 of 4, about 2 min left" in text
    assert "2.000 of 8" in text
    assert "1.500 of 5" in text
    assert "ranking accuracy: 25.0 % (before), 50.0 % (after round 1)" in text
    assert "at work" not in text


def test_what_a_person_must_look_at_comes_first() -> None:
    board = Board(4, {f"s{i}": 8.0 for i in range(30)})
    names = [f"s{i}" for i in range(30)]
    others = {"refused": {"s27": "budget"}, "missing": ["s28"], "dropped": {"s29": "not finite"}}
    board.round_done(1, record(answered=names[:27], **others))
    lines = drawn(board).splitlines()
    text = "\n".join(lines)
    assert "refused: budget" in lines[2]
    assert "no answer" in lines[3]
    assert "dropped: not finite" in lines[4]
    assert "and 18 more sites" in text
    assert len(lines) < 20


def test_a_site_that_did_not_answer_keeps_what_it_has_spent() -> None:
    board = Board(4, {"a": 8.0, "b": 8.0})
    board.round_done(1, record())
    spent = {"epsilon_spent": 3.0, "epsilon_spent_less": {"b": 2.0}}
    board.round_done(2, record(answered=["a"], missing=["b"], **spent))
    assert "2.000 of 8" in drawn(board)
    assert "3.000 of 8" in drawn(board)


@pytest.mark.parametrize(("is_terminal", "kind"), [(True, LiveView), (False, TerminalProgress)])
def test_a_board_on_a_terminal_and_lines_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_terminal: bool, kind: type
) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=100)
    with showing_run(tiny_config(tmp_path, rounds=3), console) as view:
        assert isinstance(view, kind)
        view.stage("select", 1, 2)
        view.evaluating("before", 1, 2)
        view.evaluated(0, metrics(0.25))
        view.site_step("site0", StepProgress(1, 1, 10, 20))
        view.round_done(1, 3, record(answered=["site0", "site1"]), 2.0)
        view.baseline("pooled", 1, 2)
    lines = capsys.readouterr().err
    assert ("round 1/3: 2 sites, epsilon spent 2.000" in lines) is not is_terminal
    assert ("2.000 of 8" in out.getvalue()) is is_terminal
