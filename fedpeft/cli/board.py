# SPDX-License-Identifier: Apache-2.0
"""What a run looks like now, as a table: its sites, what they have spent, its figures, the time that is left.

It hears what the coordinator hears, and on whose step a simulation works; nothing is sent or stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedpeft.types import JsonDict

_SITES: Final = 12
"""Rows at most; a terminal is not endless."""
_RECENT: Final = 5
"""Rounds that the time left is told from."""


class Board:
    """The state of a run, and how to draw it.

    Attributes:
        round_number: the round that is worked on.
    """

    def __init__(
        self, rounds: int, caps: Mapping[str, float], clock: Callable[[], float] = monotonic
    ) -> None:
        """Of a run before its first round.

        Args:
            rounds: that are planned.
            caps: epsilon that each site commits to.
            clock: seconds.
        """
        self.round_number = 1
        self._rounds, self._caps, self._clock = rounds, dict(caps), clock
        self._done = 0
        self._spent: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._working = ""
        self._since: float | None = None
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._figures: list[tuple[int, JsonDict]] = []

    def working(self, site: str) -> None:
        """A site is at its step."""
        self._working = site
        if self._since is None:
            self._since = self._clock()

    def round_done(self, number: int, record: JsonDict) -> None:
        """A round is complete; ``record`` is its line of ``rounds.jsonl``."""
        now = self._clock()
        if self._since is not None:
            self._seconds.append(now - self._since)
        self._since, self._done, self.round_number, self._working = now, number, number + 1, ""
        self._said |= dict.fromkeys(record["answered"], "answered")
        self._said |= {site: f"refused: {why}" for site, why in record["refused"].items()}
        self._said |= {site: f"dropped: {why}" for site, why in record["dropped"].items()}
        self._said |= dict.fromkeys(record["missing"], "no answer")
        less, most = record["epsilon_spent_less"], record["epsilon_spent"]
        self._spent |= {site: less.get(site, most) for site in {*record["answered"], *self._spent, *less}}

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """Figures after so many rounds."""
        self._figures = [*self._figures[:1], (rounds_done, metrics)]

    @property
    def seconds_left(self) -> float | None:
        """Of the rounds, told from the last few; ``None`` before the first is done."""
        if not self._seconds:
            return None
        return (self._rounds - self._done) * sum(self._seconds) / len(self._seconds)

    def __rich__(self) -> RenderableType:
        """The table, below a line on the run as a whole."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for name in ("site", "epsilon spent", "", "last round"):
            table.add_column(name, no_wrap=True)
        shown = self._in_order()
        for site in shown[:_SITES]:
            spent, cap = self._spent.get(site, 0.0), self._caps.get(site, 0.0)
            said = "at work" if site == self._working else self._said.get(site, "")
            bar = ProgressBar(total=cap or 1.0, completed=spent, width=20)
            table.add_row(Text(site), Text(f"{spent:.3f} of {cap:g}"), bar, Text(said))
        rest = len(shown) - _SITES
        more = [Text(f"and {rest} more sites", style="dim")] if rest > 0 else []
        return Group(self._headline(), *self._of_figures(), table, *more)

    def _in_order(self) -> list[str]:
        """Those that a person must look at come first."""
        names = [*self._caps, *(site for site in self._said if site not in self._caps)]
        return sorted(names, key=lambda site: self._said.get(site, "answered") == "answered")

    def _headline(self) -> Text:
        left = self.seconds_left
        time = "" if left is None else f", about {_duration(left)} left"
        return Text(f"round {min(self.round_number, self._rounds)} of {self._rounds}{time}", style="bold")

    def _of_figures(self) -> list[Text]:
        if not self._figures:
            return []
        lines = []
        for name in self._figures[0][1]:
            values = [(done, metrics[name]["value"]) for done, metrics in self._figures]
            known = [
                f"{_figure(name, value)} ({f'after round {done}' if done else 'before'})"
                for done, value in values
                if value is not None
            ]
            if known:
                lines.append(Text(f"{name.replace('_', ' ')}: {', '.join(known)}"))
        return lines


def _figure(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name.endswith("accuracy") else f"{value:.3f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
