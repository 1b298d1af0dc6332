# SPDX-License-Identifier: Apache-2.0
"""Cells run one by one in this process, on one backbone; what has a line in the results is not run again."""

from __future__ import annotations

import ast
import fnmatch
import functools
import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import fedpeft
from fedpeft.baselines import GUARANTEE, run_method, scores_after, train_unprotected
from fedpeft.errors import ConfigError, FedpeftError, UserError
from fedpeft.evaluation import Scores, compare, summarize
from fedpeft.flower.simulation import Observer
from fedpeft.reporter import Silence
from fedpeft.result import (
    anonymous_scores,
    peak_rss_mb,
    scores_to_json,
    versions,
)
from fedpeft.run import evaluate_state, untouched_scores
from fedpeft.run_sources import read_sources
from fedpeft.shared import Shared
from fedpeft.workspace import Workspace
from simulations.benchmarks.shared.measure import machine
from simulations.grid.by_task import tasks_of
from simulations.grid.experiment import Cell, Experiment, is_same, portable, portable_override
from simulations.grid.results import Line, Results, opened, pack_scores, read_lines
from simulations.outcome import Pace

_log = logging.getLogger(__name__)

_FROM_RESULT = (
    "guarantee", "epsilon", "epsilon_spent", "delta", "unit", "noise_multiplier_by_site", "backbone_digest",
    "method", "rounds_completed", "stopped_because", "trainable_parameters", "trainable_percent", "metrics",
    "data", "selection", "seconds", "bytes_up", "bytes_down",
)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far an experiment is.

    Attributes:
        done: cells with a line in the results, before and now.
        total: cells that were asked for.
    """

    done: int
    total: int


def run_experiment(
    experiment: Experiment,
    path: Path,
    work: Path,
    *,
    only: Sequence[str] = (),
    minutes: float | None = None,
    observer: Observer | None = None,
    shared: Shared | None = None,
) -> Progress:
    """Run the cells that have no line in ``path``, and append a line as each ends.

    A cell that was stopped in its middle begins anew, because a run that lost a charge would end a round
    early and be no fair cell. One that is a cell of another experiment too is run once, for both.

    Args:
        experiment: with its cells.
        path: of the results.
        work: folder for a cell's files while it runs.
        only: patterns of cells' names; default: all.
        minutes: begin no cell that would probably end later than this.
        observer: hears of the progress of runs.
        shared: what cells have in common; default: nothing with earlier experiments.

    Raises:
        ConfigError: a pattern of ``only`` that fits no cell.
        UserError: a cell's data or backbone cannot be used.
        KeyboardInterrupt: stopped; the cells that were done are kept.
    """
    cells = _chosen(experiment, only)
    shared, pace = shared or Shared(), Pace(minutes)
    with opened(path) as results:
        for cell in cells:
            if _has(results, cell):
                continue
            twin = _elsewhere(cell, path, {"scores", "tasks"} if experiment.table.by_task else {"scores"})
            if twin is not None:
                results.append({"measured_in": twin[0], **twin[1], "cell": cell.name})
                continue
            if not pace.may_begin():
                break
            line = run_cell(cell, work / experiment.name, shared, observer)
            if experiment.table.by_task and "scores" in line:
                line["tasks"] = tasks_of(cell.config, work / experiment.name, shared)
            seconds = pace.ended()
            results.append({"minutes": round(seconds / 60, 3), **line})
            _tell(cell, experiment, seconds)
        return Progress(sum(_has(results, cell) for cell in cells), len(cells))


def run_cell(cell: Cell, folder: Path, shared: Shared, observer: Observer | None = None) -> Line:
    """One cell; the folder is empty before and gone afterwards.

    Returns:
        The line of the results. A run that fails is a finding: its line says why.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        train = _private if cell.kind == "run" else _unprotected
        found = train(cell, folder, shared, observer)
    except UserError:
        raise
    except FedpeftError as error:
        found = {"failed": str(error)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "cell": cell.name,
        "seed": cell.seed,
        "id": cell.identity,
        "kind": cell.kind,
        "base": cell.base,
        "set": [portable_override(override) for override in cell.overrides],
        **found,
        "process_peak_rss_mb": peak_rss_mb(),  # of all cells so far
        "code": code_digest(),
        "versions": versions(),
        "machine": machine(),
        "config": portable(cell.config),
    }


def _private(cell: Cell, folder: Path, shared: Shared, observer: Observer | None) -> dict[str, Any]:
    result = run_method(cell.config, folder, observer, shared=shared)
    if result["stopped_because"] == "interrupted":
        raise KeyboardInterrupt
    found = [pack_scores(after) for after in scores_after(folder)]
    figures = {key: result[key] for key in _FROM_RESULT}
    return {**figures, "scores": found[0] if len(found) == 1 else found}


def _unprotected(cell: Cell, folder: Path, shared: Shared, observer: Observer | None) -> dict[str, Any]:
    reporter = observer or Silence()
    since = monotonic()
    with Workspace(cell.config, folder, None, read_sources(cell.config, shared), shared) as workspace:
        assert cell.kind != "run"
        before = untouched_scores(workspace, reporter)
        state = train_unprotected(workspace, cell.kind)
        after = evaluate_state(workspace, state, "after", reporter)
        assert before is not None  # an experiment evaluates something
        assert after is not None
        size, share = state.size, 100 * state.size / workspace.num_parameters
        digest, data = workspace.backbone.digest, workspace.provenance
    return {
        "guarantee": GUARANTEE,
        "epsilon": None,
        "backbone_digest": digest,
        "rounds_completed": cell.config.federation.rounds,
        "stopped_because": "completed",
        "trainable_parameters": size,
        "trainable_percent": share,
        "metrics": _metrics(before, after),
        "data": data,
        "seconds": {"total": monotonic() - since},
        "scores": pack_scores(anonymous_scores(scores_to_json(after))),
    }


def _metrics(before: Scores, after: Scores) -> dict[str, Any]:
    return {
        "before": summarize(before),
        "after": summarize(after),
        "difference": compare(before, after),
        "records": len(before.ids),
    }


@functools.cache
def code_digest() -> str:
    """A hash of the package's code, comments and docstrings left out; to tell lines of other code apart."""
    digest = hashlib.sha256()
    for file in sorted(Path(fedpeft.__file__).parent.glob("**/*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _chosen(experiment: Experiment, only: Sequence[str]) -> list[Cell]:
    names = {cell.name for cell in experiment.cells}
    unknown = [pattern for pattern in only if not fnmatch.filter(names, pattern)]
    if unknown:
        raise ConfigError(
            f"--only {unknown[0]}: fits no cell of {experiment.name}; there are {', '.join(sorted(names))}"
        )
    return [cell for cell in experiment.cells if not only or any(fnmatch.fnmatch(cell.name, o) for o in only)]


def _has(results: Results, cell: Cell) -> bool:
    return any(is_same(line, cell) for line in results.lines)


def _elsewhere(cell: Cell, path: Path, needed: set[str]) -> tuple[str, Line] | None:
    """The name of another experiment that ran the same cell, and its line if it has the keys ``needed``."""
    for other in sorted(path.parent.glob("*.jsonl")):
        if other != path:
            for line in read_lines(other):
                if needed <= line.keys() and is_same(line, cell):  # other files name a cell's id too
                    return other.stem, line
    return None


def _tell(cell: Cell, experiment: Experiment, seconds: float) -> None:
    limit = experiment.table.minutes
    level = logging.WARNING if seconds > 60 * limit else logging.INFO
    _log.log(level, "%s: %.0f s (at most %g minutes are meant)", cell.label, seconds, limit)
