# SPDX-License-Identifier: Apache-2.0
"""Epsilon spent, by site and by round, against the run's cap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fedpeft.report import words
from fedpeft.report.charts.intervals import Bar, bars_chart
from fedpeft.report.charts.lines import Line, lines_chart, thinned
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict

_LINES: Final = 6
_BARS: Final = 20
_COLUMNS: Final = 8


def section(run: RunFolder, prefix: str) -> Section:
    """What releases have cost, as the coordinator counts them."""
    return Section(f"{prefix}budget", "Privacy budget", tuple(_blocks(run, prefix)))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    caps = caps_of(run)
    spent = spent_by_round(run)
    if not caps:
        yield Note("Nothing is known of the budget yet.")
        return
    yield Note(
        "What counts is the cap, which each site committed to before its first step. What was spent of it is "
        "a diagnostic: composed from the releases that came, at the run's delta."
    )
    if spent:
        yield _by_round(spent, caps, prefix)
    last = run.result["epsilon_spent_by_site"] if run.result else spent[-1][1] if spent else {}
    if last:
        yield _by_site(run, last, caps, prefix)
    tasks = run.result.get("epsilon_by_task") if run.result else None
    if tasks:
        rows = tuple((task, words.number(epsilon)) for task, epsilon in tasks.items())
        yield Table("Epsilon of each task's units", ("task", "epsilon"), rows)


def caps_of(run: RunFolder) -> dict[str, float]:
    """Epsilon that each site committed to; empty where it is not known."""
    if run.result is not None:
        return dict(run.result["epsilon_by_site"])
    if run.config is None:
        return {}
    return {site.name: site.epsilon or run.config.privacy.epsilon for site in run.config.sites}


def spent_by_round(run: RunFolder) -> list[tuple[int, dict[str, float]]]:
    """After each round, epsilon of each site that has released anything."""
    found: list[tuple[int, dict[str, float]]] = []
    known: set[str] = set()
    for record in run.rounds:
        if "epsilon_spent" not in record:
            continue
        known |= {*record["answered"], *record["dropped"], *record["epsilon_spent_less"]}
        found.append((record["round"], spent_in(record, known)))
    return found


def spent_in(record: JsonDict, sites: set[str]) -> dict[str, float]:
    """Epsilon of ``sites`` after the round of one line of ``rounds.jsonl``."""
    less, most = record["epsilon_spent_less"], record["epsilon_spent"]
    return {site: less.get(site, most) for site in sorted(sites)}


def _by_round(spent: list[tuple[int, dict[str, float]]], caps: dict[str, float], prefix: str) -> Chart:
    sites = sorted(spent[-1][1])
    cap = max(caps.values())
    final = max(spent[-1][1].values())
    alt = (
        f"Epsilon spent over {words.counted(len(spent), 'round')}, up to {words.number(final)} of the cap of "
        f"{words.number(cap)}; {words.counted(len(sites), 'site')}."
    )
    svg = lines_chart(
        f"{prefix}spent",
        _lines(spent, sites),
        x="round",
        y="epsilon spent",
        limit=(f"cap {words.number(cap)}", cap),
    )
    return Chart("Spent by round", alt, svg, _table(spent, sites, caps))


def _lines(spent: list[tuple[int, dict[str, float]]], sites: list[str]) -> list[Line]:
    """One for each site; of many sites, or of sites that are all alike, the largest and the range."""
    alike = all(len(set(by_site.values())) <= 1 for _, by_site in spent)
    if len(sites) <= _LINES and not alike:
        return [
            Line(site, tuple((number, by_site[site]) for number, by_site in spent if site in by_site))
            for site in sites
        ]
    most = tuple((float(number), max(by_site.values())) for number, by_site in spent)
    if alike:
        return [Line(f"each of {words.counted(len(sites), 'site')}", most)]
    places = [int(x) for x, _ in thinned([(float(i), 0.0) for i in range(len(spent))])]
    band = tuple((spent[i][0], min(spent[i][1].values()), max(spent[i][1].values())) for i in places)
    return [Line(f"most and least of {words.counted(len(sites), 'site')}", most, band)]


def _table(spent: list[tuple[int, dict[str, float]]], sites: list[str], caps: dict[str, float]) -> Table:
    places = [int(x) for x, _ in thinned([(float(i), 0.0) for i in range(len(spent))], _COLUMNS)]
    columns = ("site", "cap", *(f"round {spent[i][0]}" for i in places))
    rows = [
        (
            site,
            words.number(caps[site]) if site in caps else "-",
            *(f"{spent[i][1][site]:.3f}" if site in spent[i][1] else "-" for i in places),
        )
        for site in sites
    ]
    return Table("Epsilon spent by site and round", columns, tuple(rows), folded=True)


def _by_site(run: RunFolder, last: dict[str, float], caps: dict[str, float], prefix: str) -> Chart:
    multipliers = run.result["noise_multiplier_by_site"] if run.result else {}
    order = sorted(last, key=lambda site: -last[site])
    bars = [Bar(site, last[site], caps.get(site)) for site in order[:_BARS]]
    rest = f"; the {_BARS} that spent most of {len(last)}" if len(last) > _BARS else ""
    least, most = min(last.values()), max(last.values())
    alt = f"Epsilon spent by each site beside its cap, from {least:.3f} to {most:.3f}{rest}."
    rows = [
        (
            site,
            words.number(caps[site]) if site in caps else "-",
            f"{last[site]:.4f}",
            words.number(multipliers[site]) if site in multipliers else "-",
        )
        for site in order
    ]
    behind = Table("Spent by site", ("site", "cap", "spent", "noise multiplier"), tuple(rows), folded=True)
    svg = bars_chart(f"{prefix}sites", bars, x="epsilon spent, and the cap")
    return Chart(f"Spent by site{rest}", alt, svg, behind)
