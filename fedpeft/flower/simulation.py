# SPDX-License-Identifier: Apache-2.0
"""A whole federation in this process: the real apps over an in-process grid, on one backbone."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Protocol

from flwr.app import Context

from fedpeft.checkpoint import Checkpoint
from fedpeft.config import RunConfig
from fedpeft.errors import together
from fedpeft.flower.client import SitePort, build_client_app
from fedpeft.flower.grid import InProcessGrid, server_context
from fedpeft.flower.server import build_server_app
from fedpeft.folder import RESULT_FILE, check_folder, open_run, open_unfinished, prepare_folder
from fedpeft.layer_choice import (
    SplitRows,
    choose_layers,
    needed_rows,
    read_choice,
    read_split,
    with_layers,
    write_choice,
)
from fedpeft.plan import Plan
from fedpeft.privacy.metric import EvaluatingTransport
from fedpeft.run import Reporter, conduct, plan_of
from fedpeft.run_sources import Sources, read_sources
from fedpeft.shared import Shared
from fedpeft.stopwatch import Stopwatch
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict
from fedpeft.workspace import Workspace


class Observer(Reporter, Protocol):
    """A reporter that also hears of the sites' own steps, as only a simulation can."""

    def site_step(self, site: str, step: StepProgress) -> None:
        """A micro-batch of a site is done."""

    def stage(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of a stage before the rounds are done."""


def simulate(
    config: RunConfig,
    out: Path,
    observer: Observer | None = None,
    *,
    sources: Sources | None = None,
    shared: Shared | None = None,
) -> JsonDict:
    """Run ``config`` with all its sites in this process.

    Args:
        config: a complete run.
        out: folder for the run's files; must not exist yet, or be empty.
        observer: hears of progress.
        sources: what was read already, as ``read_sources`` does, with ``data.source = "python"`` from objects
            of the calling program; default: read now.
        shared: what this run has in common with others of the process.

    Returns:
        What ``result.json`` holds.

    Raises:
        UserError: something the user gave cannot be used; nothing was spent and no folder is left half made.
        FedpeftError: the run cannot go on; what is complete is in its checkpoint.
    """
    watch = Stopwatch()
    plan, _, rows, sources = together(
        lambda: plan_of(config),
        lambda: check_folder(out),
        lambda: _rows_to_choose_by(config),
        lambda: sources or read_sources(config, shared),
    )
    with Workspace(config, out, observer.site_step if observer else None, sources, shared) as workspace:
        watch.lap("load", watch.started)
        prepare_folder(config, plan, out)
        return _run(workspace, _choose(workspace, plan, rows, observer, watch), None, observer, watch)


def resume(out: Path, observer: Observer | None = None, *, sources: Sources | None = None) -> JsonDict:
    """Go on with the simulation in ``out`` from its last complete round.

    Args:
        out: the folder that ``simulate`` was given.
        observer: hears of progress.
        sources: as ``simulate`` was given; default: read now.

    Raises:
        RunDirectoryError: ``out`` is not a run, or the run is complete.
        FedpeftError: the run cannot go on.
    """
    watch = Stopwatch()
    config, checkpoint = open_unfinished(out)
    plan = plan_of(config)
    rows = None if read_choice(out) else _rows_to_choose_by(config)
    with Workspace(config, out, observer.site_step if observer else None, sources) as workspace:
        watch.lap("load", watch.started)
        plan = _choose(workspace, plan, rows, observer, watch)
        return _run(workspace, plan, checkpoint, observer, watch)


def finished(out: Path) -> JsonDict | None:
    """The result of the run in ``out`` if nothing of it is left to be done.

    Raises:
        RunDirectoryError: ``out`` is not a run.
    """
    config, checkpoint = open_run(out)
    if not checkpoint or checkpoint.rounds_completed < config.federation.rounds:
        return None
    path = out / RESULT_FILE
    result: JsonDict | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    return result


def _rows_to_choose_by(config: RunConfig) -> SplitRows | None:
    """What can be wrong with public rows is told before anything is made, whatever they are for."""
    if config.selection.selector is not None:
        rows = needed_rows(config)
        if rows is not None:
            return rows
    return read_split(config) if config.selection.warm_start else None


def _choose(
    workspace: Workspace, plan: Plan, rows: SplitRows | None, observer: Observer | None, watch: Stopwatch
) -> Plan:
    """The stage that chooses the blocks to train, where there is one that is not done; the plan after it."""
    config, out = workspace.config, workspace.out
    if config.selection.selector is None or read_choice(out) is not None:
        return plan
    since = monotonic()
    with workspace.without_adapter() as change:
        hears = observer.stage if observer else None
        found = choose_layers(config, plan, rows, hears, workspace.backbone)
        write_choice(out, found)
        change(with_layers(config, found))
    watch.lap("select", since)
    return plan_of(workspace.config)


def _run(
    workspace: Workspace,
    plan: Plan,
    checkpoint: Checkpoint | None,
    observer: Observer | None,
    watch: Stopwatch,
) -> JsonDict:
    for index in range(len(plan.sites)):  # a ledger that cannot be used is told before anything else
        workspace.site(index)
    results: list[JsonDict] = []

    def coordinate(transport: EvaluatingTransport, _run_config: object) -> None:
        results.append(
            conduct(workspace, plan, transport, checkpoint=checkpoint, reporter=observer, watch=watch)
        )

    def find_site(context: Context) -> SitePort:
        return workspace.site(int(context.node_config["partition-id"]))

    grid = InProcessGrid(build_client_app(find_site), num_nodes=len(plan.sites))
    build_server_app(coordinate)(grid, server_context())
    return results[0]
