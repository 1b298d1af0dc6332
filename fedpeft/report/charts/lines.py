# SPDX-License-Identifier: Apache-2.0
"""Values over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedpeft.report.charts.canvas import MUTED, colour, draw, short

MOST_POINTS: Final = 120
"""Of a drawn line; more cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        points: ``(x, y)``, in order.
        band: ``(x, low, high)`` around it.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()


def lines_chart(
    name: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    limit: tuple[str, float] | None = None,
    markers: bool = False,
    from_zero: bool = True,
) -> str:
    """Draw lines, and a level that they must not pass.

    Args:
        name: of the drawing, unique on the page.
        lines: at least one.
        x: label.
        y: label.
        limit: name and height of a level.
        markers: a dot for each point, where there are few.
        from_zero: whether the y axis begins at zero.
    """

    def paint(_figure: Figure, axes: Axes) -> None:
        for i, line in enumerate(lines):
            if line.band:
                xs, lows, highs = zip(*line.band, strict=True)
                axes.fill_between(xs, lows, highs, color=colour(i), alpha=0.18, linewidth=0)
            xs, ys = zip(*thinned(line.points), strict=True)
            style = "o-" if markers or len(line.points) == 1 else "-"
            axes.plot(xs, ys, style, color=colour(i), label=short(line.name), markersize=4)
        if limit is not None:
            axes.axhline(limit[1], color=MUTED, linestyle="--", linewidth=1.2, label=limit[0])
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if from_zero:
            axes.set_ylim(bottom=0)
        if len(lines) > 1 or limit is not None:
            axes.legend(loc="best")

    return draw(name, paint)


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Every so many-th of the points, with the first and the last."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]
