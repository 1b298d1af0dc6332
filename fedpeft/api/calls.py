# SPDX-License-Identifier: Apache-2.0
"""fedpeft from Python: a configuration or a TOML goes in, a run with its adapter and its account comes out.

Everything here is also a name of the package itself::

    import fedpeft

    run = fedpeft.simulate("run.toml", "runs/first")
    print(run.guarantee)
    model = run.model()          # a peft.PeftModel
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedpeft.api.run import Run
from fedpeft.config import RunConfig, load_config, parse_config
from fedpeft.data.sources import Datasets
from fedpeft.errors import ConfigError
from fedpeft.flower import simulation
from fedpeft.flower.simulation import Observer
from fedpeft.folder import open_unfinished
from fedpeft.plan import Plan
from fedpeft.plan import make_plan as plan_of_config
from fedpeft.report import write_report
from fedpeft.run_sources import Sources, read_sources

Config = RunConfig | str | os.PathLike[str] | Mapping[str, Any]
"""A configuration that was read already, the path of a TOML, or what a TOML would hold as plain tables."""


def simulate(
    config: Config,
    out: str | os.PathLike[str] | None = None,
    *,
    datasets: Datasets | None = None,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
) -> Run:
    """Train over all sites of a configuration, in this process.

    Args:
        config: a ``RunConfig``, the path of a TOML, or plain tables like those of a TOML, whose relative
            paths start from the working directory.
        out: folder for the run's files, new or empty; default: ``runs/NAME`` of ``NAME.toml``, else
            ``runs/run``.
        datasets: a ``datasets.Dataset`` by the name of each site (a ``DatasetDict`` is one), or by
            ``"data.partition"`` for one table that is split over simulated sites. Plain tables that name no
            ``data.source`` then get the source ``"python"``.
        overrides: ``"KEY=VALUE"``, as with ``--set``; not for a ``RunConfig``.
        observer: hears of progress; default: nobody does.

    Returns:
        The run, complete or interrupted; ``run.result["stopped_because"]`` tells.

    Raises:
        UserError: something that was given cannot be used; nothing was spent and no folder is left half made.
        FedpeftError: the run cannot go on; what is complete is in its folder, and ``resume`` goes on.

    Examples:
        >>> run = simulate("run.toml", "runs/first")
        >>> run.result["rounds_completed"]
        2
        >>> run.verify()
        True

        The same tables as a dictionary, with data that the program holds:

        >>> import datasets
        >>> rows = [{"instruction": f"Spell {word}.", "response": " ".join(word)} for word in words]
        >>> tables = {
        ...     "model": {"backbone": "backbone"},
        ...     "adapter": {"rank": 2},
        ...     "sites": [{"name": "north", "declared_units": 40}],
        ...     "evaluation": {"public": True},
        ...     "federation": {"rounds": 1},
        ... }
        >>> run = simulate(tables, "runs/held", datasets={"north": datasets.Dataset.from_list(rows)})
        >>> run.epsilon
        8.0
    """
    checked = _checked(config, overrides, datasets)
    folder = Path(out) if out is not None else _default_folder(checked)
    simulation.simulate(checked, folder, observer, sources=_sources(checked, datasets))
    write_report(folder)
    return Run.open(folder)


def resume(
    folder: str | os.PathLike[str], *, datasets: Datasets | None = None, observer: Observer | None = None
) -> Run:
    """Go on with an interrupted run from its last complete round; what was spent stays spent.

    Args:
        folder: that ``simulate`` was given as ``out``.
        datasets: the same data again, where ``simulate`` was given any.
        observer: hears of progress; default: nobody does.

    Raises:
        RunDirectoryError: not a run, or all its rounds are complete.
        FedpeftError: the run cannot go on.
    """
    config, _ = open_unfinished(Path(folder))
    simulation.resume(Path(folder), observer, sources=_sources(config, datasets))
    write_report(Path(folder))
    return Run.open(folder)


def open_run(folder: str | os.PathLike[str]) -> Run:
    """A run that was begun before, complete or not.

    Args:
        folder: that ``simulate`` or ``fedpeft simulate --out`` was given.

    Raises:
        RunDirectoryError: not the folder of a run, damaged, or its configuration was edited.

    Examples:
        >>> open_run("runs/earlier").is_finished
        True
    """
    return Run.open(folder)


def make_plan(config: Config, overrides: Sequence[str] = ()) -> Plan:
    """What a run will cost before it starts: noise, steps, epsilon, bytes. Reads no data, trains nothing.

    Args:
        config: as for ``simulate``.
        overrides: as for ``simulate``.

    Raises:
        UserError: the configuration is not valid, the backbone has no such blocks or modules, or epsilon
            cannot be reached.

    Examples:
        >>> cheap, dear = (make_plan("run.toml", [f"privacy.epsilon={e}"]) for e in (8, 2))
        >>> cheap.sites[0].noise_multiplier < dear.sites[0].noise_multiplier
        True
    """
    return plan_of_config(_checked(config, overrides, None))


def _checked(config: Config, overrides: Sequence[str], datasets: Datasets | None) -> RunConfig:
    if isinstance(config, RunConfig):
        if overrides:
            raise ConfigError(
                f"overrides = {list(overrides)}: a RunConfig does not change; give them to "
                "fedpeft.load_config, which makes one"
            )
        checked = config
    elif isinstance(config, Mapping):
        checked = parse_config(_with_source(config, datasets), Path.cwd(), overrides)
    elif isinstance(config, str | os.PathLike):
        checked = load_config(config, overrides)
    else:
        raise ConfigError(
            f"config is a {type(config).__name__}; give a RunConfig, the path of a TOML, or its tables as a "
            "dictionary"
        )
    if datasets is not None and checked.data.source != "python":
        raise ConfigError(
            f'data.source = "{checked.data.source}": datasets are given, and it would not read them; '
            'set data.source = "python", or give no datasets'
        )
    return checked


def _with_source(tables: Mapping[str, Any], datasets: Datasets | None) -> Mapping[str, Any]:
    """Data that the program holds need no source to be named."""
    data = tables.get("data", {})
    if datasets is None or not isinstance(data, Mapping) or "source" in data:
        return tables
    return {**tables, "data": {**data, "source": "python"}}


def _sources(config: RunConfig, datasets: Datasets | None) -> Sources | None:
    return None if datasets is None else read_sources(config, datasets=datasets)


def _default_folder(config: RunConfig) -> Path:
    return Path("runs") / (config.source_path.stem if config.source_path else "run")
