# SPDX-License-Identifier: Apache-2.0
"""Values with their intervals, one under the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedpeft.report.charts.canvas import MUTED, colour, draw, short
from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class Interval:
    """One value.

    Attributes:
        low: with ``high``, its interval; ``None`` where an end is not known, as of a single record.
        group: index of its colour.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    group: int = 0

    @classmethod
    def of(cls, name: str, measured: JsonDict, factor: float, group: int) -> Interval:
        """A figure of ``result.json`` that has a value, times ``factor``."""
        low, high = (None if measured[end] is None else factor * measured[end] for end in ("low", "high"))
        return cls(name, factor * measured["value"], low, high, group)


def intervals_chart(name: str, intervals: Sequence[Interval], *, x: str) -> str:
    """Draw dots with whiskers, the first on top.

    Args:
        name: of the drawing, unique on the page.
        intervals: at least one.
        x: label.
    """

    def paint(_figure: Figure, axes: Axes) -> None:
        for i, item in enumerate(intervals):
            if item.low is not None and item.high is not None:
                axes.plot([item.low, item.high], [i, i], color=colour(item.group), linewidth=2)
            axes.plot([item.value], [i], "o", color=colour(item.group), markersize=6)
        axes.set_yticks(range(len(intervals)), [short(item.name) for item in intervals])
        axes.set_ylim(len(intervals) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x)

    return draw(name, paint, height=0.75 + 0.27 * len(intervals))


@dataclass(frozen=True, slots=True)
class Bar:
    """One length, and how much of it is full."""

    name: str
    value: float
    most: float | None = None


def bars_chart(name: str, bars: Sequence[Bar], *, x: str) -> str:
    """Draw bars, the first on top; a line marks the most that each may reach."""

    def paint(_figure: Figure, axes: Axes) -> None:
        places = range(len(bars))
        axes.barh(places, [bar.value for bar in bars], height=0.55, color=colour(0))
        for i, bar in enumerate(bars):
            if bar.most is not None:
                axes.plot([bar.most, bar.most], [i - 0.4, i + 0.4], color=MUTED, linewidth=2)
        axes.set_yticks(places, [short(bar.name) for bar in bars])
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x)

    return draw(name, paint, height=0.7 + 0.24 * len(bars))
