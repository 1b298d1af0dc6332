# SPDX-License-Identifier: Apache-2.0
"""Several runs side by side: what they promise, what they found, what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fedpeft.report import words
from fedpeft.report.charts.intervals import Interval, intervals_chart
from fedpeft.report.charts.lines import Line, lines_chart
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.report.sections.budget import caps_of, spent_by_round
from fedpeft.types import JsonDict

_FACTS: tuple[tuple[str, Callable[[JsonDict], str]], ...] = (
    ("guarantee", lambda r: "none" if str(r["guarantee"]).startswith("none") else "stated"),
    ("epsilon", lambda r: words.number(r["epsilon"])),
    ("delta", lambda r: words.number(r["delta"])),
    ("unit", lambda r: str(r["unit"])),
    ("epsilon spent", lambda r: f"{r['epsilon_spent']:.4f}"),
    ("sites", lambda r: str(len(r["sites"]))),
    ("rounds", lambda r: str(r["rounds_completed"])),
    ("stopped because", lambda r: str(r["stopped_because"])),
    ("method", lambda r: str(r["method"])),
    ("backbone", lambda r: str(r["backbone"]).rpartition("/")[2]),
    ("trainable parameters", lambda r: f"{r['trainable_parameters']:,}"),
    ("sent by sites", lambda r: words.size(r["bytes_up"])),
)
_TIMES: tuple[tuple[str, Callable[[JsonDict], str]], ...] = (
    ("total time", lambda r: words.duration(r["seconds"]["total"])),
    ("most memory", lambda r: f"{r['peak_rss_mb']:,.0f} MB"),
)


def comparison(runs: Sequence[RunFolder]) -> Section:
    """The first section of a page of several runs."""
    return Section("comparison", "Side by side", tuple(_blocks(runs)))


def _blocks(runs: Sequence[RunFolder]) -> Iterator[Block]:
    yield Note(
        "Where these runs read the same records, their epsilons and deltas add up for whoever is in them, "
        "and choosing the best of them does not make it less.",
        "warn",
    )
    yield _facts(runs)
    names = dict.fromkeys(name for run in runs for name in _metrics(run))
    for name in names:
        chart = _metric(runs, name)
        if chart is not None:
            yield chart
    lines = [
        Line(run.name, tuple((float(n), max(by_site.values())) for n, by_site in spent))
        for run in runs
        if (spent := spent_by_round(run))
    ]
    if lines:
        yield _spent(runs, lines)


def _facts(runs: Sequence[RunFolder]) -> Table:
    facts = (*_FACTS, *(_TIMES if all(run.shows_times for run in runs) else ()))
    rows = [
        (label, *("-" if run.result is None else read(run.result) for run in runs)) for label, read in facts
    ]
    return Table("The runs", ("", *(run.name for run in runs)), tuple(rows))


def _metrics(run: RunFolder) -> JsonDict:
    return {} if run.result is None else run.result["metrics"]["after"] or {}


def _metric(runs: Sequence[RunFolder], name: str) -> Chart | None:
    found = [(run.name, _metrics(run).get(name)) for run in runs]
    known = [(label, measured) for label, measured in found if measured and measured["value"] is not None]
    if not known:
        return None
    factor = 100.0 if name.endswith("accuracy") else 1.0
    intervals = [Interval.of(label, m, factor, i) for i, (label, m) in enumerate(known)]
    heading = words.metric_name(name)
    alt = f"{heading} after: " + "; ".join(f"{label} {words.with_interval(name, m)}" for label, m in known)
    rows = tuple((label, words.with_interval(name, m)) for label, m in found)
    unit = "in percent" if factor > 1 else "less is better"
    svg = intervals_chart(f"compare-{name.replace('_', '-')}", intervals, x=f"{heading.lower()}, {unit}")
    behind = Table(heading, ("run", "after, with a 95 % interval"), rows, folded=True)
    return Chart(f"{heading} after", f"{alt}.", svg, behind)


def _spent(runs: Sequence[RunFolder], lines: Sequence[Line]) -> Chart:
    svg = lines_chart("compare-spent", lines, x="round", y="largest epsilon spent")
    alt = "Largest epsilon spent by round: " + "; ".join(
        f"{line.name} {words.number(line.points[-1][1])} after {line.points[-1][0]:.0f} rounds"
        for line in lines
    )
    caps = {run.name: max(caps_of(run).values(), default=0.0) for run in runs}
    rows = tuple((line.name, words.number(caps[line.name]), f"{line.points[-1][1]:.4f}") for line in lines)
    return Chart("Spent", f"{alt}.", svg, Table("Spent", ("run", "cap", "spent"), rows, folded=True))
