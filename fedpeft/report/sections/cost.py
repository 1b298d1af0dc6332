# SPDX-License-Identifier: Apache-2.0
"""Time and bytes."""

from __future__ import annotations

from collections.abc import Iterator

from fedpeft.report import words
from fedpeft.report.charts.intervals import Bar, bars_chart
from fedpeft.report.charts.lines import Line, lines_chart
from fedpeft.report.parts import Block, Chart, Facts, Note, Section, Table
from fedpeft.report.run_folder import RunFolder


def section(run: RunFolder, prefix: str) -> Section:
    """What the run cost in time, memory and traffic."""
    return Section(f"{prefix}cost", "Time and bytes", tuple(_blocks(run, prefix)))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    if run.result is not None:
        yield Facts(tuple(_facts(run)))
        if run.shows_times:
            yield _stages(run.result["seconds"], prefix)
    if run.rounds and run.shows_times:
        yield _rounds(run, prefix)
    if run.result is None and not run.rounds:
        yield Note("No round is complete yet.")


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    result = run.result
    assert result is not None
    if run.shows_times:
        yield "total time", words.duration(result["seconds"]["total"])
        yield "most memory of this process", f"{result['peak_rss_mb']:,.0f} MB"
    yield "sent by sites", words.size(result["bytes_up"])
    yield "sent to sites", words.size(result["bytes_down"])
    yield "trainable parameters", f"{result['trainable_parameters']:,} ({result['trainable_percent']:.3f} %)"


def _stages(seconds: dict[str, float], prefix: str) -> Chart:
    stages = sorted(((n, s) for n, s in seconds.items() if n != "total"), key=lambda item: -item[1])
    rows = tuple((name, words.duration(value)) for name, value in [*stages, ("total", seconds["total"])])
    alt = "Seconds by stage: " + ", ".join(f"{name} {words.duration(value)}" for name, value in stages) + "."
    svg = bars_chart(f"{prefix}stages", [Bar(name, value) for name, value in stages], x="seconds")
    return Chart("Time by stage", alt, svg, Table("Time by stage", ("stage", "time"), rows, folded=True))


def _rounds(run: RunFolder, prefix: str) -> Chart:
    points = tuple((float(r["round"]), float(r["seconds"]["train"])) for r in run.rounds)
    times = sorted(y for _, y in points)
    middle, up = times[len(times) // 2], sum(r["bytes_up"] for r in run.rounds)
    rows = (
        ("rounds", f"{len(times):,}"),
        ("fastest", words.duration(times[0])),
        ("median", words.duration(middle)),
        ("slowest", words.duration(times[-1])),
        ("sent by sites, a round", words.size(up / len(times))),
    )
    alt = f"Seconds of training by round: median {words.duration(middle)}, most {words.duration(times[-1])}."
    svg = lines_chart(f"{prefix}seconds", [Line("training", points)], x="round", y="seconds")
    return Chart("Time by round", alt, svg, Table("Time by round", ("", "value"), rows, folded=True))
