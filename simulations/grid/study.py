# SPDX-License-Identifier: Apache-2.0
"""One program for a table or figure of several experiments: run their cells, write what they show."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simulations.grid.__main__ import Places
from simulations.grid.__main__ import main as grid
from simulations.grid.experiment import Experiment, load_experiment
from simulations.grid.figures import METADATA, STYLE, draw
from simulations.grid.results import read_lines
from simulations.grid.table import Row, make_rows, make_table, put_between_markers, show

Render = Callable[[Experiment, Sequence[Row], Path], str]
"""Markdown of an experiment; figures go to the folder."""

_NO_FIGURE: Final = float("nan")


@dataclass(frozen=True)
class Study:
    """Experiments that are run and shown together.

    Attributes:
        program: for its help.
        experiments: names of files in ``experiments/``.
        render: one of them.
    """

    program: str
    experiments: tuple[str, ...]
    render: Render


def run_study(
    study: Study, about: str, arguments: Sequence[str] | None = None, places: Places | None = None
) -> int:
    """``run [--only ...] [--minutes M]`` or ``table``; the exit code is the grid's."""
    parser = argparse.ArgumentParser(prog=f"python -m simulations.{study.program}", description=about)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run the cells that have no result yet")
    run.add_argument("--of", choices=study.experiments, nargs="+", default=list(study.experiments))
    run.add_argument("--only", nargs="+", default=[], metavar="CELL")
    run.add_argument("--minutes", metavar="M")
    actions.add_parser("table", help="write tables and figures of what is there")
    asked, places = parser.parse_args(arguments), places or Places()
    if asked.action == "table":
        for name in study.experiments:
            write(study, name, places)
        return 0
    only = ["--only", *asked.only] if asked.only else []
    minutes = ["--minutes", asked.minutes] if asked.minutes else []
    return grid(["run", *asked.of, *only, *minutes], places)  # in one process, which keeps states


def write(study: Study, name: str, places: Places) -> str:
    """The experiment between its markers in the README; returns the text."""
    experiment = load_experiment(name, places.experiments)
    rows = make_rows(experiment, read_lines(places.lines(name)))
    text = study.render(experiment, rows, places.figures)
    put_between_markers(places.readme, name, text)
    print(text)
    return text


def as_grid(x: str, y: str) -> Render:
    """A renderer of cells named ``X-<value>-Y-<value>``: the table, and the first metric as a grid.

    Args:
        x: the word before the value that goes along.
        y: the word before the value that goes up.
    """

    def render(experiment: Experiment, rows: Sequence[Row], folder: Path) -> str:
        path = _draw_grid(experiment, rows, folder, x, y)
        return make_table(experiment, rows) + (
            "" if path is None else f"\n\n![{experiment.table.title}]({folder.name}/{path.name})"
        )

    return render


def _draw_grid(experiment: Experiment, rows: Sequence[Row], folder: Path, x: str, y: str) -> Path | None:
    import matplotlib
    from matplotlib.figure import Figure

    told = [row.figures for row in rows if row.figures]
    metric = next((m for m in experiment.table.metrics if any(f[m]["value"] is not None for f in told)), None)
    if metric is None:
        return None
    places = {row.name: _place(row.name, x, y) for row in rows}
    across, up = (sorted({place[i] for place in places.values()}) for i in (0, 1))
    values = [[_NO_FIGURE] * len(across) for _ in up]
    for row in rows:
        if row.figures:
            value = row.figures[metric]["value"]
            i, j = up.index(places[row.name][1]), across.index(places[row.name][0])
            values[i][j] = _NO_FIGURE if value is None else value
    if all(value != value for line in values for value in line):
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.0, 3.6))
        _grid_of_figures(figure.subplots(), values, across, up, (x, y), metric)
        figure.suptitle(experiment.table.title, x=0.02, ha="left")
        figure.tight_layout()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{experiment.name}.svg"
        figure.savefig(path, format="svg", metadata=METADATA)
    return path


def _grid_of_figures(
    axes: Any,
    values: Sequence[Sequence[float]],
    across: Sequence[float],
    up: Sequence[float],
    names: tuple[str, str],
    metric: str,
) -> None:
    axes.imshow(values, origin="lower", cmap="viridis", aspect="auto")
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            text = "-" if value != value else show(metric, value)
            axes.text(j, i, text, ha="center", va="center", color="white")
    axes.set_xticks(range(len(across)), [f"{value:g}" for value in across])
    axes.set_yticks(range(len(up)), [f"{value:g}" for value in up])
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])


def _place(name: str, x: str, y: str) -> tuple[float, float]:
    words = name.split("-")
    return float(words[words.index(x) + 1]), float(words[words.index(y) + 1])


def plainly(experiment: Experiment, rows: Sequence[Row], folder: Path) -> str:
    """The table, and the first metric with its intervals."""
    path = draw(experiment, rows, folder)
    drawn = "" if path is None else f"\n\n![{experiment.table.title}]({folder.name}/{path.name})"
    return make_table(experiment, rows) + drawn
