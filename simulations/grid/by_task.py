# SPDX-License-Identifier: Apache-2.0
"""Figures of an experiment for the records of each task apart."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from fedpeft.config import RunConfig
from fedpeft.evaluation import Scores, summarize_runs
from fedpeft.run_sources import read_sources
from fedpeft.shared import Shared
from fedpeft.workspace import Workspace
from simulations.grid.results import runs_of
from simulations.grid.table import Figures, Row, show_figure


def tasks_of(config: RunConfig, folder: Path, shared: Shared) -> list[str]:
    """The task of each record that a run of ``config`` evaluates, in the order of its scores.

    Args:
        config: of the run.
        folder: for its files; empty before and gone afterwards.
        shared: with the runs.
    """

    def find() -> list[str]:
        try:
            with Workspace(config, folder, None, read_sources(config, shared), shared) as workspace:
                return [record.task for record in workspace.records]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    privacy = (config.privacy.unit, config.privacy.missing_unit)  # units are held out whole
    return shared.once("tasks", (config.sites, config.data, config.evaluation, privacy), find)


def by_task(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """A Markdown table a metric, a column a task, of the rows whose lines name the tasks."""
    known = {row.name: row for row in rows if row.lines and "tasks" in row.lines[0]}
    if not known:
        return []
    tasks = sorted({task for row in known.values() for task in row.lines[0]["tasks"]})
    figures = {name: {task: _of_task(row, task) for task in tasks} for name, row in known.items()}
    found = []
    for metric in metrics:
        lines = [f"| {metric.replace('_', ' ')} | {' | '.join(tasks)} |", "|---|" + "--:|" * len(tasks)]
        for name, told in figures.items():
            lines.append(f"| {name} | {' | '.join(show_figure(metric, told[task]) for task in tasks)} |")
        found.append("\n".join(lines))
    counted = next(iter(known.values())).lines[0]["tasks"]
    return [f"By task ({', '.join(f'{counted.count(task)} {task}' for task in tasks)}):", *found]


def _of_task(row: Row, task: str) -> Figures:
    return summarize_runs([_only(run, line["tasks"], task) for line in row.lines for run in runs_of(line)])


def _only(scores: Scores, tasks: Sequence[str], task: str) -> Scores:
    """The records of one task."""
    chosen = np.array([one == task for one in tasks])
    names = [field.name for field in fields(scores) if field.name != "ids"]
    arrays = {name: getattr(scores, name)[chosen] for name in names}
    return replace(scores, ids=tuple(itertools.compress(scores.ids, chosen)), **arrays)
