# SPDX-License-Identifier: Apache-2.0
"""A whole federation in this process: the real apps over an in-process grid, on one backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol, TypeVar

from flwr.app import Context

from fedpeft.checkpoint import Checkpoint
from fedpeft.config import RunConfig, option_names
from fedpeft.errors import ConfigError, together
from fedpeft.flower.client import SitePort, build_client_app
from fedpeft.flower.grid import InProcessGrid, server_context
from fedpeft.flower.server import build_server_app
from fedpeft.folder import RESULT_FILE, alone_in, check_folder, open_run, open_unfinished, prepare_folder
from fedpeft.layer_choice import (
    SplitRows,
    choice_facts,
    choose_layers,
    needed_rows,
    read_choice,
    read_split,
    with_layers,
)
from fedpeft.plan import Plan
from fedpeft.privacy.metric import EvaluatingTransport
from fedpeft.reporter import Reporter
from fedpeft.run import conduct, plan_of
from fedpeft.run_sources import Sources, read_sources
from fedpeft.selection.budget import asks_sites
from fedpeft.shared import Shared
from fedpeft.stages import begin, choose_by_votes, keep_choice
from fedpeft.stopwatch import Stopwatch
from fedpeft.synthesis.dataset import FOLDER, SyntheticDataset
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict
from fedpeft.workspace import Workspace

T = TypeVar("T")


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
        rows = _synthesize(workspace, plan, watch) or rows
        return _run(workspace, _choose(workspace, plan, rows, observer, watch), None, observer, watch)


def synthesize(config: RunConfig, out: Path, *, sources: Sources | None = None) -> SyntheticDataset:
    """The first stage of ``config`` alone; ``resume(out)`` goes on with the run from there.

    Args:
        config: a complete run, with ``synthesis.generator``.
        out: folder for the run's files; must not exist yet, or be empty.
        sources: as for ``simulate``.

    Raises:
        UserError: something the user gave cannot be used; nothing was spent.
        FedpeftError: the stage cannot be carried out.
    """
    if config.synthesis.generator is None:
        known = " or ".join(map(repr, option_names("synthesis.generator")))
        raise ConfigError(f"synthesis.generator: is not set, so nothing is to be made; set it to {known}")
    plan, _, sources = together(
        lambda: plan_of(config), lambda: check_folder(out), lambda: sources or read_sources(config)
    )
    with Workspace(config, out, None, sources) as workspace:
        prepare_folder(config, plan, out)
        _with_sites(workspace, plan, lambda transport: begin(workspace, plan, transport))
    return SyntheticDataset.read(out / FOLDER)


def select(config: RunConfig, out: Path, *, sources: Sources | None = None) -> JsonDict:
    """The choice of blocks of ``config`` alone, after its synthesis; ``resume(out)`` goes on from there.

    Args:
        config: a complete run, with ``selection.selector``.
        out: folder for the run's files; must not exist yet, or be empty.
        sources: as for ``simulate``.

    Returns:
        What ``selection.json`` holds.

    Raises:
        UserError: something the user gave cannot be used; nothing was spent.
        FedpeftError: the stage cannot be carried out.
    """
    plan, _, rows, sources = together(
        lambda: plan_of(config),
        lambda: check_folder(out),
        lambda: _rows_to_choose_by(config),
        lambda: sources or read_sources(config),
    )
    watch = Stopwatch()
    with Workspace(config, out, None, sources) as workspace:
        prepare_folder(config, plan, out)
        rows = _synthesize(workspace, plan, watch) or rows
        _choose(workspace, plan, rows, None, watch)
    found = read_choice(out)
    assert found is not None  # it was just written
    return found


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
        if checkpoint is None:
            rows = _synthesize(workspace, plan, watch) or rows
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
    if config.selection.selector is not None and not _chooses_by_synthetic(config):
        rows = needed_rows(config)
        if rows is not None:
            return rows
    selection = config.selection
    return read_split(config) if selection.warm_start or selection.allocation_start else None


def _chooses_by_synthetic(config: RunConfig) -> bool:
    """Whether blocks are chosen by the rows that the run makes itself."""
    selection, synthesis = config.selection, config.synthesis
    return None not in (selection.selector, synthesis.generator) and selection.data is None


def _synthesize(workspace: Workspace, plan: Plan, watch: Stopwatch) -> SplitRows | None:
    """The stage that makes synthetic rows, where there is one; the rows, where blocks are chosen by them."""
    config = workspace.config
    if config.synthesis.generator is None:
        return None
    since = monotonic()
    _with_sites(workspace, plan, lambda transport: begin(workspace, plan, transport))
    watch.lap("synthesis", since)
    wanted = _chooses_by_synthetic(config) and read_choice(workspace.out) is None
    return needed_rows(config, workspace.out / FOLDER) if wanted else None


def _choose(
    workspace: Workspace, plan: Plan, rows: SplitRows | None, observer: Observer | None, watch: Stopwatch
) -> Plan:
    """The stage that chooses the blocks to train, where there is one that is not done; the plan after it."""
    config, out = workspace.config, workspace.out
    if config.selection.selector is None or read_choice(out) is not None:
        return plan
    since, hears = monotonic(), observer.stage if observer else None
    if asks_sites(config.selection):  # of the adapter with all blocks to choose from
        found = _with_sites(
            workspace, plan, lambda transport: choose_by_votes(workspace, plan, transport, hears)
        )
        keep_choice(config, out, found)
    with workspace.without_adapter() as change:
        if not asks_sites(config.selection):
            found = workspace.shared.once(
                "choice of blocks",
                choice_facts(config, plan, rows, workspace.backbone),
                lambda: choose_layers(config, plan, rows, hears, workspace.backbone),
            )
            keep_choice(config, out, found)
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
    with alone_in(workspace.out):
        return _with_sites(
            workspace,
            plan,
            lambda transport: conduct(
                workspace, plan, transport, checkpoint=checkpoint, reporter=observer, watch=watch
            ),
        )


def _with_sites(workspace: Workspace, plan: Plan, coordinate: Callable[[EvaluatingTransport], T]) -> T:
    """What the coordinator makes of a transport to all sites of this process."""
    for index in range(len(plan.sites)):  # a ledger that cannot be used is told before anything else
        workspace.site(index)
    results: list[T] = []

    def find_site(context: Context) -> SitePort:
        return workspace.site(int(context.node_config["partition-id"]))

    grid = InProcessGrid(build_client_app(find_site), num_nodes=len(plan.sites))
    app = build_server_app(lambda transport, _run_config: results.append(coordinate(transport)))
    app(grid, server_context())
    return results[0]
