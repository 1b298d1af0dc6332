# SPDX-License-Identifier: Apache-2.0
"""Figures before and after, with intervals, and the baselines."""

from __future__ import annotations

from collections.abc import Iterator

from fedpeft.report import words
from fedpeft.report.charts.intervals import Interval, intervals_chart
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict


def section(run: RunFolder, prefix: str) -> Section:
    """What the run was for."""
    return Section(f"{prefix}metrics", "Metrics before and after", tuple(_blocks(run, prefix)))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    if run.result is None:
        yield Note("The figures after the last round are not there yet; the section below has those so far.")
        return
    found = run.result["metrics"]
    if run.baselines is not None:
        yield Note(str(run.baselines["watermark"]), "bad")
    if found["before"] is None:
        yield Note(f"No figures: {found['privacy']}.")
    else:
        text = f"{words.counted(found['records'], 'record')}, {found['privacy']}."
        yield Note(text, "bad" if run.metrics_are_private_records else "plain")
        yield _differences(found)
        for name in found["before"]:
            chart = _chart(run, found, name, prefix)
            if chart is not None:
                yield chart
    if run.baselines is not None:
        yield from _failures(run.baselines)
    if found.get("private"):
        yield from _private(found["private"])
    if run.result.get("warm_start"):
        start = run.result["warm_start"].get("metrics")
        text = ", ".join(
            f"{words.metric_name(n)} {words.with_interval(n, m)}" for n, m in (start or {}).items()
        )
        yield Note(
            f"The rounds began from a warm start on public or synthetic rows: {text or 'not evaluated'}."
        )


def _differences(found: JsonDict) -> Table:
    labels = found.get("labels", ())
    rows = tuple(
        (
            words.metric_name(name, labels),
            words.with_interval(name, before),
            words.with_interval(name, found["after"][name]),
            words.with_interval(name, found["difference"][name]),
        )
        for name, before in found["before"].items()
    )
    columns = ("metric", "before", "after", "difference, paired")
    return Table("Values with 95 % intervals", columns, rows, "Of perplexity less is better.")


def _chart(run: RunFolder, found: JsonDict, name: str, prefix: str) -> Chart | None:
    measured = [("before", found["before"][name], 1), ("after", found["after"][name], 0)]
    if run.baselines is not None:
        measured += [
            (f"NOT PRIVATE: {label}", entry["metrics"][name], 3)
            for label, entry in run.baselines["baselines"].items()
            if "metrics" in entry
        ]
    known = [(label, m, group) for label, m, group in measured if m["value"] is not None]
    if not known:
        return None
    factor = 100.0 if name.endswith("accuracy") else 1.0
    intervals = [Interval.of(label, m, factor, group) for label, m, group in known]
    heading = words.metric_name(name, found.get("labels", ()))
    alt = f"{heading}: " + "; ".join(f"{label} {words.with_interval(name, m)}" for label, m, _ in known) + "."
    rows = tuple(
        (label, *(words.figure(name, m[key]) for key in ("value", "low", "high"))) for label, m, _ in known
    )
    unit = "in percent" if factor > 1 else "less is better"
    svg = intervals_chart(
        f"{prefix}metric-{name.replace('_', '-')}", intervals, x=f"{heading.lower()}, {unit}"
    )
    return Chart(heading, alt, svg, Table(heading, ("", "value", "low", "high"), rows, folded=True))


def _failures(baselines: JsonDict) -> Iterator[Note]:
    for label, entry in baselines["baselines"].items():
        if "failed" in entry:
            yield Note(f"The baseline {label} failed: {entry['failed']}", "warn")


def _private(private: JsonDict) -> Iterator[Block]:
    rows = []
    for when, found in private.items():
        everybody = found["ranking_accuracy"]
        rows.append((f"{when}, all sites", words.with_interval("ranking_accuracy", everybody)))
        rows += [
            (f"{when}, {site}", words.with_interval("ranking_accuracy", measured))
            for site, measured in found["by_site"].items()
        ]
        rows += [(f"{when}, {site}", f"no figure: {why}") for site, why in found.get("without", {}).items()]
    yield Table(
        "Ranking accuracy on the sites' own held-out units, noised and paid for",
        ("of", "value with a 95 % interval that includes the noise"),
        tuple(rows),
    )
