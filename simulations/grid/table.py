# SPDX-License-Identifier: Apache-2.0
"""From lines of results to rows of figures, and to the experiment's table in a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpeft.evaluation import Scores, compare_runs, summarize_runs
from fedpeft.methods.base import find
from simulations.grid.experiment import Cell, Experiment, is_same
from simulations.grid.results import Line, runs_of

Figures = Mapping[str, Mapping[str, float | None]]

_PERCENT = "accuracy"  # figures with this in their name are shares


@dataclass(frozen=True)
class Row:
    """A cell over its seeds.

    Attributes:
        lines: of its runs that ended well, in the order of the seeds.
        asked: how many runs the experiment has of it.
        failed: what went wrong in the others.
        figures: means over runs, with ``low``, ``high``, ``spread``; empty without a line.
        differences: to the reference cell; empty for that itself, or where either has no line.
        untouched: figures of the backbone alone.
    """

    name: str
    cells: tuple[Cell, ...]
    lines: tuple[Line, ...]
    asked: int
    failed: tuple[str, ...]
    figures: Figures
    differences: Figures
    untouched: Figures


def make_rows(experiment: Experiment, lines: Sequence[Line]) -> list[Row]:
    """One row a cell, in the order of the experiment; lines of other cells or versions are not used."""
    by_name = {row.name: _of_cell(experiment, row.name, lines) for row in experiment.table.cells}
    reference = [run for line in by_name[experiment.table.reference][1] for run in runs_of(line)]
    return [
        _row(name, cells, found, failed, reference if name != experiment.table.reference else [])
        for name, (cells, found, failed) in by_name.items()
    ]


def metrics_of(experiment: Experiment, rows: Sequence[Row]) -> list[str]:
    """The columns: as the experiment names them, else all that some row has a number for."""
    known = next((list(row.figures) for row in rows if row.figures), [])
    if experiment.table.metrics:
        return [name for name in experiment.table.metrics if name in known]
    return [n for n in known if any(row.figures and row.figures[n]["value"] is not None for row in rows)]


def make_table(experiment: Experiment, rows: Sequence[Row]) -> str:
    """The experiment as Markdown: its title, what the guarantee is, a row a cell."""
    metrics = metrics_of(experiment, rows)
    reference = experiment.table.reference
    columns = [f"{_words(m)} | against {reference}" for m in metrics]
    head = " | ".join(["cell", "epsilon", "trained", *columns, "runs", "minutes"])
    rule = "|".join(["---", *["--:"] * (2 + 2 * len(metrics) + 2)])
    body = [" | ".join(_cells(experiment, row, metrics)) for row in rows]
    table = "\n".join(f"| {line} |" for line in [head, *body])
    first, _, rest = table.partition("\n")
    return "\n\n".join([_about(experiment, rows, metrics), f"{first}\n|{rule}|\n{rest}"])


def show(name: str, number: float | None, sign: bool = False) -> str:
    """A figure for people: shares in percent."""
    if number is None:
        return "-"
    plus = "+" if sign else ""
    return f"{100 * number:{plus}.1f}" if _PERCENT in name else f"{number:{plus}.2f}"


def put_between_markers(path: Path, name: str, text: str) -> None:
    """Replace what stands in ``path`` between the markers of ``name``; without them, append both."""
    begin, end = f"<!-- grid {name}: generated, do not edit -->", f"<!-- end of grid {name} -->"
    content = path.read_text("utf-8") if path.is_file() else ""
    block = f"{begin}\n{text}\n{end}"
    before, found, rest = content.partition(begin)
    if found:
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"{path}: has no line {end!r} after {begin!r}; put it back")
        content = before + block + after
    else:
        content = f"{content.rstrip()}\n\n{block}\n".lstrip()
    path.write_text(content, encoding="utf-8")


def _of_cell(
    experiment: Experiment, name: str, lines: Sequence[Line]
) -> tuple[tuple[Cell, ...], list[Line], list[str]]:
    cells = tuple(cell for cell in experiment.cells if cell.name == name)
    found = [next((line for line in lines if is_same(line, cell)), None) for cell in cells]
    good = [line for line in found if line is not None and "failed" not in line]
    return cells, good, [line["failed"] for line in found if line is not None and "failed" in line]


def _row(
    name: str, cells: tuple[Cell, ...], lines: list[Line], failed: list[str], reference: list[Scores]
) -> Row:
    runs = [run for line in lines for run in runs_of(line)]
    return Row(
        name,
        cells,
        tuple(lines),
        len(cells),
        tuple(failed),
        summarize_runs(runs) if runs else {},
        compare_runs(reference, runs) if runs and reference and _comparable(runs, reference) else {},
        lines[0]["metrics"]["before"] if lines else {},
    )


def _comparable(runs: Sequence[Scores], reference: Sequence[Scores]) -> bool:
    """Cells on other records than the reference's have no difference to it."""
    return runs[0].ids == reference[0].ids


def _about(experiment: Experiment, rows: Sequence[Row], metrics: Sequence[str]) -> str:
    seeds = experiment.table.seeds
    lines = [line for row in rows for line in row.lines]
    parts = [f"**{experiment.table.title}** (`python -m simulations.grid run {experiment.name}`)."]
    if seeds:
        parts.append(
            f"Seeds {', '.join(map(str, seeds))}: the runs are for research and guarantee nothing; epsilon "
            "is nominal, what the same run would promise without a seed."
        )
    parts.append(
        "Figures are means over runs, with their standard deviation over runs where there are several, and "
        "95 % bootstrap intervals over records and runs; differences are paired."
    )
    if before := next((row.untouched for row in rows if row.untouched), None):
        figures = ", ".join(f"{_words(m)} {show(m, before[m]['value'])}" for m in metrics)
        parts.append(f"The untouched backbone: {figures}; {lines[0]['metrics']['records']} records.")
    if len({line["code"] for line in lines}) > 1:
        parts.append("Rows come from different states of the code.")
    return " ".join(parts)


def _cells(experiment: Experiment, row: Row, metrics: Sequence[str]) -> list[str]:
    name = f"{row.name} (reference)" if row.name == experiment.table.reference else row.name
    private = row.cells[0].kind == "run" and find(row.cells[0].config.method).has_epsilon
    name = name if private else f"{name}, NOT PRIVATE"
    runs = f"{len(row.lines)}/{row.asked}" if len(row.lines) < row.asked else str(row.asked)
    if row.failed:
        runs += f" ({len(row.failed)} failed: {row.failed[0].replace('|', '/')})"
    if not row.lines:
        return [name, "-", "-", *["-"] * (2 * len(metrics)), runs, "-"]
    line = row.lines[0]
    epsilon = "none" if line["epsilon"] is None else f"{line['epsilon']:g}"
    parts = ((row.figures, False), (row.differences, True))
    figures = [show_figure(m, part, sign) for m in metrics for part, sign in parts]
    minutes = sum(line["minutes"] for line in row.lines) / len(row.lines)
    mark = " (over)" if minutes > experiment.table.minutes else ""
    return [name, epsilon, f"{line['trainable_parameters']:,}", *figures, runs, f"{minutes:.1f}{mark}"]


def show_figure(metric: str, figures: Figures, sign: bool = False) -> str:
    """Value, spread over runs and interval."""
    figure = figures.get(metric)
    if figure is None:
        return "-"
    value, low, high = (show(metric, figure[name], sign) for name in ("value", "low", "high"))
    spread = "" if figure["spread"] is None else f" ± {show(metric, figure['spread'])}"
    return f"{value}{spread} [{low}, {high}]"


def _words(metric: str) -> str:
    return metric.replace("_", " ") + (" (%)" if _PERCENT in metric else "")
