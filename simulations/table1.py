# SPDX-License-Identifier: Apache-2.0
"""Table 1: every system under one unit and one epsilon, its ablations, and how steps were chosen.

::

python -m simulations.table1 norms                    clip norms from public records
python -m simulations.table1 tune [sst2] [medquad] [sst2_later] [medquad_later]
                                                      three steps for each row, on development records
python -m simulations.table1 fix                      keep the best of each
python -m simulations.table1 run [--of EXPERIMENT] [--only ROW]
python -m simulations.table1 table                    write the tables of what is there

``norms`` and ``fix`` write experiments/table1_norms.json and table1_steps.json: commit them before ``run``,
so that what a reported cell is run with is written down before it is scored. ``tune``, too, takes ``--only``.
Needs FEDPEFT_DATA_ROOT, and the extra ``figures`` for the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from fedpeft.config import RunConfig
from fedpeft.evaluation import Scores, compare_runs
from fedpeft.methods.base import find
from fedpeft.plan import make_plan
from simulations.audit import RESULT as AUDIT
from simulations.grid.__main__ import Places
from simulations.grid.__main__ import main as grid
from simulations.grid.bases import (
    FIGURE_RUN,
    MEDQUAD,
    MEDQUAD_LATER,
    MEDQUAD_PUBLIC,
    MEDQUAD_ROWS,
    MEDQUAD_RUN,
    NORMS_FILE,
    SST2,
    SST2_PUBLIC,
    SST2_RUN,
    STEPS_FILE,
)
from simulations.grid.by_task import by_task
from simulations.grid.experiment import Experiment, load_experiment
from simulations.grid.norms import median_norms
from simulations.grid.results import read_lines, runs_of
from simulations.grid.rows import ADAPTERS, LATER, ROWS, steps_for, system_of
from simulations.grid.study import Study, run_study
from simulations.grid.table import Figures, Row, make_rows, make_table, show, show_figure
from simulations.outcome import exit_code

TUNING: Final[Mapping[str, str]] = {
    "sst2": "table1_tuning",
    "medquad": "table1_medquad_tuning",
    "sst2_later": "table1_later_tuning",
    "medquad_later": "table1_medquad_later_tuning",
}
"""The trials, by data set."""

_HEAD: Final = (
    "row", "trained (%)", "accuracy (%)", "against the reference", "epsilon", "noise / signal", "MB sent",
    "minutes", "runs",
)  # fmt: skip

OURS: Final = ("fedpeft", "dp-selft", "fedpeft-selft", "fedpeft-stream")
BASELINES: Final = (
    "dp-lora", "dp-lora-product-svd", "dp-lora-fedex", "dp-bitfit", "dp-bitfit-flat", "dp-bitfit-finer",
    "anadp",
)  # fmt: skip
"""What ours are held against at equal epsilon; ``dp-forward`` protects something else."""


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """See the module's text."""
    given, places = list(sys.argv[1:] if arguments is None else arguments), places or Places()
    if given[:1] == ["tune"]:
        rest = given[1:]
        names = [name for data, name in TUNING.items() if data in rest or not TUNING.keys() & {*rest}]
        return grid(["run", *names, *(word for word in rest if word not in TUNING)], places)
    if given == ["norms"]:
        return exit_code(lambda: _write(places.experiments / NORMS_FILE, norms()))
    if given == ["fix"]:
        return exit_code(lambda: _write(places.experiments / STEPS_FILE, fix(places)))
    study = Study("table1", experiments_in(places.experiments), render)
    return run_study(study, str(__doc__), given, places)


def experiments_in(folder: Path) -> tuple[str, ...]:
    """Every part of Table 1 in ``folder`` but the trials."""
    return tuple(sorted({path.stem for path in folder.glob("table1_*.py")} - {*TUNING.values()}))


def norms() -> dict[str, dict[str, float]]:
    """The clip norm of each adapter, by data set; ``sst2_top`` is that of the figures."""
    used = {system_of(name).adapter for name in (*MEDQUAD_ROWS, *MEDQUAD_LATER)}
    return {
        "sst2": median_norms(SST2, SST2_RUN, SST2_PUBLIC, ADAPTERS),
        "sst2_top": median_norms(SST2, FIGURE_RUN, SST2_PUBLIC, {"ffa-weight": ADAPTERS["ffa-weight"]}),
        "medquad": median_norms(
            MEDQUAD, MEDQUAD_RUN, MEDQUAD_PUBLIC, {name: ADAPTERS[name] for name in sorted(used)}
        ),
    }


def fix(places: Places) -> dict[str, dict[str, float]]:
    """By data set and row the step with the best accuracy, then the best perplexity.

    A row with a trial missing had fewer than the others, and is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for data, name in TUNING.items():
        if not (places.experiments / f"{name}.py").is_file():
            continue
        experiment = load_experiment(name, places.experiments)
        rows = {row.name: row for row in make_rows(experiment, read_lines(places.lines(name)))}
        found[data] = {}
        for system in (*ROWS, *LATER):
            tried = {step: rows.get(f"{system}-step-{step:g}") for step in steps_for(system)}
            scored = {step: row.figures for step, row in tried.items() if row is not None and row.figures}
            if len(scored) == len(tried):
                found[data][system] = max(scored, key=lambda step: _merit(scored[step]))
    return found


def _write(path: Path, found: Mapping[str, object]) -> None:
    text = json.dumps(found, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text, end="")


def _merit(figures: Figures) -> tuple[float, float]:
    accuracy, perplexity = (figures[name]["value"] for name in ("ranking_accuracy", "perplexity"))
    return (accuracy or 0.0, -(perplexity or float("inf")))


def render(experiment: Experiment, rows: Sequence[Row], folder: Path) -> str:  # noqa: ARG001
    """The table with what a system costs, and what the bars ask for."""
    about = make_table(experiment, rows).partition("\n\n")[0]
    rule = "|".join(["---", *["--:"] * (len(_HEAD) - 1)])
    lines = [f"| {' | '.join(_HEAD)} |", f"|{rule}|", *(f"| {' | '.join(_cells(row))} |" for row in rows)]
    tasks = by_task(rows, ("ranking_accuracy", "perplexity"))
    return "\n\n".join(
        [
            about,
            "\n".join(lines),
            *_of_texts(rows),
            *tasks,
            *against_baselines(rows),
            *_findings(rows),
            *_audited(),
        ]
    )


def against_baselines(rows: Sequence[Row], metric: str = "ranking_accuracy") -> list[str]:
    """Each of ours minus each private baseline."""
    runs = {row.name: _runs(row) for row in rows if row.figures}
    ours, theirs = ([name for name in names if name in runs] for names in (OURS, BASELINES))
    if not ours or not theirs:
        return []
    lines = [f"| minus | {' | '.join(ours)} |", "|---|" + "--:|" * len(ours)]
    for name in theirs:
        gains = [compare_runs(runs[name], runs[one])[metric] for one in ours]
        lines.append(f"| {name} | {' | '.join(_interval(gain, True, metric) for gain in gains)} |")
    unit = "points of accuracy" if metric == "ranking_accuracy" else metric
    return [f"Ours against each private baseline, {unit}:", "\n".join(lines)]


def _of_texts(rows: Sequence[Row]) -> list[str]:
    """What else can be said of responses that are no labels."""
    if not rows or rows[0].cells[0].config.evaluation.labels:
        return []
    metrics = ("token_accuracy", "perplexity")
    head = " | ".join(f"{metric.replace('_', ' ')} | against the reference" for metric in metrics)
    lines = [f"| row | {head} |", "|---|" + "--:|" * 2 * len(metrics)]
    for row in rows:
        parts = ((row.figures, False), (row.differences, True))
        told = (show_figure(metric, part, sign) for metric in metrics for part, sign in parts)
        lines.append(f"| {row.name} | {' | '.join(told)} |")
    return ["\n".join(lines), *against_baselines(rows, "perplexity")]


def _audited(path: Path = AUDIT) -> list[str]:
    """What audits of the mechanism that all private rows share found, at a claim where they have power."""
    if not path.is_file():
        return []
    claims = json.loads(path.read_text("utf-8"))["claims"]
    claimed, quarter = ([claim["measured"][name] for claim in claims] for name in ("claimed", "quarter"))
    largest = max(found["largest_bound"] for found in claimed)
    return [
        f"Private rows share one mechanism. Audited at epsilon {claims[0]['epsilon']:g}, {_refuted(claimed)} "
        f"are refuted, the largest lower bound is {largest:.2f}; with a quarter of the noise "
        f"{_refuted(quarter)} are (`python -m simulations.audit`)."
    ]


def _refuted(found: Sequence[Mapping[str, float]]) -> str:
    return f"{sum(one['refuted'] for one in found)} of {sum(one['runs'] for one in found)} runs"


def _cells(row: Row) -> list[str]:
    config = row.cells[0].config
    method = find(config.method)
    mark = "" if method.no_guarantee is None else " (reference)"
    if not row.lines:
        return [f"{row.name}{mark}", *["-"] * (len(_HEAD) - 2), f"0/{row.asked}"]
    line = row.lines[0]
    sent = (line.get("bytes_up", 0) + line.get("bytes_down", 0)) / 1e6
    return [
        f"{row.name}{mark}",
        f"{line['trainable_percent']:.3f}",
        _interval(row.figures["ranking_accuracy"], False),
        _interval(row.differences.get("ranking_accuracy"), True),
        "none" if line["epsilon"] is None else f"{line['epsilon']:g}",
        _noise_to_signal(config) if method.has_epsilon else "-",
        f"{sent:.1f}",
        f"{sum(one['minutes'] for one in row.lines) / len(row.lines):.1f}",
        f"{len(row.lines)}/{row.asked}",
    ]


def _interval(figure: Mapping[str, float | None] | None, sign: bool, metric: str = "ranking_accuracy") -> str:
    if figure is None or figure["value"] is None:
        return "-"
    value, low, high = (show(metric, figure[name], sign) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _noise_to_signal(config: RunConfig) -> str:
    return f"{1 / make_plan(config).signal_over_noise:.1f}"


def _findings(rows: Sequence[Row]) -> list[str]:
    """How far the best private run closes the gap to the non-private one, and what federation gains."""
    by_name = {row.name: row for row in rows if row.figures}
    private = [row for row in by_name.values() if find(row.cells[0].config.method).no_guarantee is None]
    found = []
    if "non-private" in by_name and private:
        best = max(private, key=lambda row: _accuracy(row))
        start = row_start(best)
        gap = _accuracy(by_name["non-private"]) - start
        if gap > 0:
            share = (_accuracy(best) - start) / gap
            found.append(
                f"The best private run, {best.name}, goes {100 * share:.0f} % of the way from the untouched "
                f"backbone ({100 * start:.1f} %) to the non-private run."
                if share <= 1
                else f"The best private run, {best.name}, is above the non-private one, which is above the "
                f"untouched backbone ({100 * start:.1f} %)."
            )
    together = [name for name in ("ffa-weight", *OURS) if name in by_name]
    if "local-only" in by_name and together:
        alone = _runs(by_name["local-only"])
        gains = {name: compare_runs(alone, _runs(by_name[name]))["ranking_accuracy"] for name in together}
        told = ", ".join(f"{name} {_interval(gain, True)}" for name, gain in gains.items())
        found.append(f"Federation against each site alone (local-only), mean over sites: {told} points.")
    return found


def _runs(row: Row) -> list[Scores]:
    return [run for line in row.lines for run in runs_of(line)]


def row_start(row: Row) -> float:
    """Accuracy of the untouched backbone."""
    return float(row.untouched["ranking_accuracy"]["value"] or 0.0)


def _accuracy(row: Row) -> float:
    return float(row.figures["ranking_accuracy"]["value"] or 0.0)


if __name__ == "__main__":
    sys.exit(main())
