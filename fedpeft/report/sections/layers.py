# SPDX-License-Identifier: Apache-2.0
"""Which blocks were trained, and what else was tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fedpeft.report import words
from fedpeft.report.charts.cells import block_strips
from fedpeft.report.charts.intervals import Interval, intervals_chart
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict

_BEST: Final = 12


def section(run: RunFolder, prefix: str) -> Section:
    """Chosen blocks and candidates."""
    return Section(f"{prefix}layers", "Layers", tuple(_blocks(run, prefix)))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    found = run.selection
    if found is None:
        layers = "?" if run.config is None else _listed(run.config.adapter.layers)
        yield Note(f"No stage chose blocks: adapter.layers = {layers}.")
        return
    yield Note(f"{found['selector']}: {found['why']}.")
    yield Note(
        f"{len(found['layers'])} of {found['blocks']} blocks, "
        f"{words.counted(found['trainings'], 'training')}, "
        f"{words.duration(found['seconds'])}; {found['privacy']}."
    )
    scored = [c for c in found["candidates"] if c.get("mean") is not None][:_BEST]
    yield _strips(found, scored, prefix)
    if scored:
        yield _scores(found, scored, prefix)


def _listed(layers: object) -> str:
    return f'"{layers}"' if isinstance(layers, str) else " ".join(map(str, layers))  # type: ignore[call-overload]


def _strips(found: JsonDict, scored: Sequence[JsonDict], prefix: str) -> Chart:
    others = [
        (_name(c, i), c["layers"], False) for i, c in enumerate(scored) if c["layers"] != found["layers"]
    ]
    sets = [("chosen", found["layers"], True), *others]
    alt = f"The chosen blocks are {_listed(found['layers'])} of {found['blocks']}."
    rows = tuple((label, _listed(blocks), str(len(blocks))) for label, blocks, _ in sets)
    behind = Table("Sets of blocks", ("set", "blocks", "how many"), rows, folded=True)
    return Chart("Chosen blocks", alt, block_strips(f"{prefix}blocks", sets, found["blocks"]), behind)


def _scores(found: JsonDict, scored: Sequence[JsonDict], prefix: str) -> Chart:
    intervals = [
        Interval(
            _name(c, i),
            c["mean"],
            c["mean"] - (c["standard_error"] or 0.0),
            c["mean"] + (c["standard_error"] or 0.0),
            1 if c["layers"] == found["layers"] else 0,
        )
        for i, c in enumerate(scored)
    ]
    alt = (
        f"Loss of the best {len(scored)} of {len(found['candidates'])} candidates on validation rows, with "
        f"one standard error, from {scored[0]['mean']:.4f} to {scored[-1]['mean']:.4f}."
    )
    rows = tuple(
        (
            _name(c, i),
            _listed(c["layers"]),
            f"{c['trainable']:,}",
            str(c["steps"]),
            f"{c['mean']:.4f}",
            "-" if c["standard_error"] is None else f"{c['standard_error']:.4f}",
        )
        for i, c in enumerate(scored)
    )
    columns = ("candidate", "blocks", "trainable", "steps", "loss", "standard error")
    svg = intervals_chart(f"{prefix}scores", intervals, x="loss under the run's noise, less is better")
    return Chart("Scores of candidates", alt, svg, Table("Candidates", columns, rows, folded=True))


def _name(candidate: JsonDict, place: int) -> str:
    return f"{place + 1}. {candidate['kind']}"
