# SPDX-License-Identifier: Apache-2.0
"""Figures of an experiment as SVG; the same results give the same bytes with the same matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulations.grid.experiment import Cell, Experiment
from simulations.grid.table import Row, metrics_of

STYLE = {
    "svg.hashsalt": "fedpeft",  # names in the file come from this, not from chance
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
METADATA = {"Date": None, "Creator": None}


def draw(experiment: Experiment, rows: Sequence[Row], folder: Path) -> Path | None:
    """Draw the experiment's first metric: a curve over its ``x``, else a row a cell with its interval.

    Returns:
        The file, ``NAME.svg`` in ``folder``; ``None`` while there is nothing to draw.
    """
    import matplotlib
    from matplotlib.figure import Figure

    drawn = [row for row in rows if row.figures]
    metrics = metrics_of(experiment, rows)
    if not drawn or not metrics:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6 if experiment.table.x else 1.2 + 0.34 * len(drawn)))
        axes = figure.subplots()
        if experiment.table.x:
            _curve(axes, drawn, metrics[0], experiment.table.x)
        else:
            _intervals(axes, drawn, metrics[0])
        axes.set_title(experiment.table.title, loc="left")
        figure.tight_layout()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{experiment.name}.svg"
        figure.savefig(path, format="svg", metadata=METADATA)
    return path


def _curve(axes: Any, rows: Sequence[Row], metric: str, key: str) -> None:
    """One line for each part of the cells' names before the last ``-``."""
    series: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        series.setdefault(row.name.rpartition("-")[0] or "all", []).append((_value(row.cells[0], key), row))
    for name, points in series.items():
        points.sort(key=lambda point: point[0])
        values, errors = _with_errors([row for _, row in points], metric)
        axes.errorbar([x for x, _ in points], values, errors, marker="o", capsize=3, label=name)
    axes.set_xlabel(key)
    axes.set_ylabel(metric.replace("_", " "))
    if len(series) > 1:
        axes.legend(frameon=False)


def _intervals(axes: Any, rows: Sequence[Row], metric: str) -> None:
    places = list(range(len(rows)))[::-1]
    values, errors = _with_errors(rows, metric)
    axes.errorbar(values, places, xerr=errors, fmt="o", capsize=3)
    untouched = rows[0].untouched[metric]["value"]
    if untouched is not None:
        axes.axvline(untouched, linestyle=":", color="grey", label="untouched backbone")
        axes.legend(frameon=False)
    axes.set_yticks(places, [row.name for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(metric.replace("_", " "))


def _with_errors(rows: Sequence[Row], metric: str) -> tuple[list[float], list[list[float]]]:
    """Values, and how far below and above them the intervals reach."""
    nan = float("nan")
    figures = [row.figures[metric] for row in rows]
    values = [nan if f["value"] is None else f["value"] for f in figures]
    low = [0.0 if f["low"] is None else max(0.0, v - f["low"]) for v, f in zip(values, figures, strict=True)]
    high = [
        0.0 if f["high"] is None else max(0.0, f["high"] - v) for v, f in zip(values, figures, strict=True)
    ]
    return values, [low, high]


def _value(cell: Cell, key: str) -> float:
    found: Any = cell.config
    for part in key.split("."):
        found = getattr(found, part)
    return float(found)
