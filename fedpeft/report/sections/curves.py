# SPDX-License-Identifier: Apache-2.0
"""How learning went from round to round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fedpeft.report import words
from fedpeft.report.charts.lines import Line, lines_chart, thinned
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder

_ROWS: Final = 60


def section(run: RunFolder, prefix: str) -> Section:
    """Learning curves."""
    blocks = tuple(_blocks(run, prefix))
    return Section(f"{prefix}curves", "Learning curves", blocks or (Note("No round is complete yet."),))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    if run.curve:
        yield from (chart for name in run.curve[0]["metrics"] if (chart := _metric(run, name, prefix)))
        if len(run.curve) <= 2:
            yield Note("For points between before and after set evaluation.every to a number of rounds.")
    if run.rounds:
        yield _norms(run, prefix)


def _metric(run: RunFolder, name: str, prefix: str) -> Chart | None:
    points = [(line["round"], line["metrics"][name]) for line in run.curve]
    points = [(number, m) for number, m in points if m["value"] is not None]
    if not points:
        return None
    factor = 100.0 if name.endswith("accuracy") else 1.0
    line = Line(
        words.metric_name(name),
        tuple((number, factor * m["value"]) for number, m in points),
        tuple((n, factor * m["low"], factor * m["high"]) for n, m in points if None not in m.values()),
    )
    labels = () if run.config is None else run.config.evaluation.labels
    heading = words.metric_name(name, labels)
    first, last = (words.figure(name, m["value"]) for _, m in (points[0], points[-1]))
    alt = f"{heading} by round with its 95 % interval: from {first} to {last}."
    unit = "%" if factor > 1 else "less is better"
    svg = lines_chart(
        f"{prefix}curve-{name.replace('_', '-')}",
        [line],
        x="rounds done",
        y=f"{heading.lower()}, {unit}",
        markers=True,
        from_zero=False,
    )
    rows = tuple((str(number), words.with_interval(name, m)) for number, m in points)
    return Chart(heading, alt, svg, Table(heading, ("rounds done", "value"), rows, folded=True))


def _norms(run: RunFolder, prefix: str) -> Chart:
    points = [(float(record["round"]), float(record["update_norm"])) for record in run.rounds]
    kept = {int(number) for number, _ in thinned(points, _ROWS)}
    rows = tuple(
        (
            str(record["round"]),
            words.number(record["update_norm"]),
            str(len(record["answered"])),
            *((words.duration(record["seconds"]["train"]),) if run.shows_times else ()),
        )
        for record in run.rounds
        if record["round"] in kept
    )
    note = "" if len(rows) == len(run.rounds) else f"Every so many-th of {len(run.rounds)} rounds."
    columns = ("round", "norm", "sites", *(("training",) if run.shows_times else ()))
    behind = Table("Rounds", columns, rows, note, folded=True)
    alt = (
        f"L2 norm of the aggregated update in each round: {words.number(points[0][1])} in round "
        f"{points[0][0]:.0f}, {words.number(points[-1][1])} in round {points[-1][0]:.0f}. "
        "It holds the noise too."
    )
    svg = lines_chart(f"{prefix}norm", [Line("norm", tuple(points))], x="round", y="norm of the update")
    return Chart("Norm of the aggregated update, noise included", alt, svg, behind)
