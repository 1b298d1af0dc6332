# SPDX-License-Identifier: Apache-2.0
"""A run as a person at a terminal sees it: a board that changes in its place; plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console, Group
from rich.live import Live

from fedpeft.cli.board import Board
from fedpeft.cli.frame import progress_console
from fedpeft.cli.progress import TerminalProgress, make_progress, showing_progress
from fedpeft.config import RunConfig
from fedpeft.guarantee import site_epsilons
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict


@final
class LiveView:
    """Hears what ``TerminalProgress`` hears, and keeps the board up to date."""

    def __init__(self, board: Board, line: TerminalProgress) -> None:
        """Over a board, and the line below it on what is done just now."""
        self._board = board
        self._line = line
        self.evaluating = line.evaluating
        self.stage = line.stage
        self.baseline = line.baseline

    def site_step(self, site: str, step: StepProgress) -> None:
        """A micro-batch of a site is done."""
        self._board.working(site)
        self._line.site_step(site, step)

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """A round is complete."""
        del rounds
        self._board.round_done(number, record)
        self._line.go_on(number + 1, epsilon_spent)

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """The scores after so many rounds."""
        self._board.evaluated(rounds_done, metrics)


@contextmanager
def showing_run(config: RunConfig, console: Console | None = None) -> Iterator[LiveView | TerminalProgress]:
    """Show a run on standard error: on a terminal as a board, else as a line for each round.

    Args:
        config: of the run.
        console: default: standard error.
    """
    console = console or progress_console()
    if not console.is_terminal or console.is_dumb_terminal:
        with showing_progress() as progress:
            yield progress
        return
    board, line = Board(config.federation.rounds, site_epsilons(config)), make_progress(console)
    with Live(Group(board, line), console=console, refresh_per_second=4, transient=True):
        yield LiveView(board, TerminalProgress(line))
