# SPDX-License-Identifier: Apache-2.0
"""What an experiment is: a file in ``simulations/experiments/`` that lists cells.

A cell is a run's TOML with overrides and, for research, a seed. The same keys stand in ``NAME.toml``, or in
the dictionary ``EXPERIMENT`` of ``NAME.py`` where a list of cells is better computed than typed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from fedpeft.config import RunConfig, load_config
from fedpeft.errors import ConfigError
from fedpeft.folder import MACHINE_KEYS
from fedpeft.methods.base import find
from fedpeft.settings import Count, FilePath, Name, Positive, Section, Text

METHOD_VERSION: Final = 1
"""Part of every cell's identity. Raise it with a change of the code that changes what a cell would find;
an experiment whose own cells alone are concerned raises its key ``version``."""

_QUOTED_PATH: Final = re.compile(r'["\'](/[^"\']*)["\']')

Kind = Literal["run", "federated", "pooled"]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]


class CellTable(Section):
    """One row of the experiment's table."""

    name: Name
    set: Texts = ()
    """Overrides ``KEY=VALUE``, as on the command line; they come after those of the experiment."""
    base: FilePath | None = None
    """Another run's TOML than the experiment's."""
    kind: Kind = "run"
    """`run`; or, NOT PRIVATE, the same without clipping and noise: `federated`, or `pooled` in one place."""


class ExperimentTable(Section):
    """The keys of an experiment."""

    title: Text
    base: FilePath
    """The run's TOML that cells start from, relative to the experiment's file."""
    set: Texts = ()
    """Overrides of every cell."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(strict=False)] = ()
    """Each cell is run once with every seed. Empty: once, with noise from the operating system."""
    reference: Text
    """The cell that the others are compared with."""
    metrics: Texts = ()
    """Columns of the table, the first of them drawn; default: all."""
    minutes: Positive = 3.0
    """What a cell should take at most; one that takes longer is marked."""
    x: Text | None = None
    """A key of the configuration (`privacy.epsilon`): the figure is a curve over it."""
    by_task: bool = False
    """Keep the task of each record that is evaluated, for figures by task."""
    version: Count = 1
    """Raise it to run every cell again."""
    cells: Annotated[tuple[CellTable, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True)
class Cell:
    """One run to be done.

    Attributes:
        name: of the table's row.
        config: resolved, checked, its seed in it.
        identity: the same for two cells exactly where they would find the same, on any machine.
    """

    name: str
    kind: Kind
    overrides: tuple[str, ...]
    base: str
    config: RunConfig
    identity: str

    @property
    def seed(self) -> int | None:
        """Of the run."""
        return self.config.run.seed

    @property
    def label(self) -> str:
        """For people."""
        return self.name if self.seed is None else f"{self.name} seed {self.seed}"


@dataclass(frozen=True)
class Experiment:
    """An experiment with all of its cells, in the order in which they are run: seed by seed."""

    name: str
    table: ExperimentTable
    cells: tuple[Cell, ...]


def experiment_schema() -> dict[str, Any]:
    """A JSON Schema of an experiment's TOML, for editors; ``load_experiment`` checks its runs."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | ExperimentTable.model_json_schema()


def load_experiment(name: str, folder: Path) -> Experiment:
    """Read and check ``NAME.toml`` or ``NAME.py`` in ``folder``, every cell included.

    Raises:
        ConfigError: with every problem, one line each.
    """
    path = _find(name, folder)
    raw = _read_python(path) if path.suffix == ".py" else _read_toml(path)
    try:
        table = ExperimentTable.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path.name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(lines) from error
    problems = [f"{path.name}: {line}" for line in _problems(table)]
    cells: list[Cell] = []
    for seed in table.seeds or (None,):
        for row in table.cells:
            try:
                cells.append(_resolve(row, table, seed, path.parent))
            except ConfigError as error:
                problems += [f"{path.name}: cell {row.name}: {line}" for line in error.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Experiment(name, table, tuple(cells))


def portable(config: RunConfig, *, exclude_defaults: bool = False) -> dict[str, Any]:
    """The configuration without what is this machine's alone: devices, threads, where files lie."""
    machine: dict[str, Any] = {**MACHINE_KEYS, "data": {"root"}}
    if find(config.method).how == "rounds":  # the keys that it filled in say all; its name may change
        machine["method"] = True
    dumped = config.model_dump(mode="json", exclude=machine, exclude_defaults=exclude_defaults)
    found: dict[str, Any] = _without_folders(dumped, config.data.root)
    return found


def portable_override(override: str) -> str:
    """``KEY=VALUE`` with the last part alone of an absolute path in quotes."""
    return _QUOTED_PATH.sub(lambda found: f'"{Path(found[1]).name}"', override)


def is_same(line: Mapping[str, Any], cell: Cell) -> bool:
    """Whether a line of the results is that of ``cell``.

    Identities leave defaults out, so that a new key does not make every result old. A default that has
    another value since does, wherever a cell rests on it.
    """
    return line.get("id") == cell.identity and _agree(line.get("config"), portable(cell.config))


def _agree(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_agree(old[key], new[key]) for key in old.keys() & new.keys())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_agree, old, new))
    return bool(old == new)


def _without_folders(value: Any, root: Path | None) -> Any:
    """Absolute paths relative to ``root`` where they are below it, else their last part."""
    if isinstance(value, dict):
        return {key: _without_folders(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item, root) for item in value]
    if isinstance(value, str) and Path(value).is_absolute():
        path = Path(value)
        return path.relative_to(root).as_posix() if root and path.is_relative_to(root) else path.name
    return value


def _resolve(row: CellTable, table: ExperimentTable, seed: int | None, folder: Path) -> Cell:
    overrides = (*table.set, *row.set)
    base = row.base or table.base
    seeded = () if seed is None else (f"run.seed={seed}",)
    config = load_config(folder / base, (*overrides, *seeded), files_must_exist=False)
    if not config.evaluation.public:
        raise ConfigError(
            "evaluation.public: must be true, because results hold the scores of single records; declare the "
            "records public, or do not run this as an experiment"
        )
    if not config.evaluation.records:
        raise ConfigError("evaluation.records: is 0, so nothing would be found; evaluate some")
    facts = (METHOD_VERSION, table.version, row.kind, portable(config, exclude_defaults=True))
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Cell(row.name, row.kind, overrides, base.name, config, digest[:16])


def _problems(table: ExperimentTable) -> list[str]:
    names = [cell.name for cell in table.cells]
    lines = [f"cells: two are named {name!r}" for name in {n for n in names if names.count(n) > 1}]
    if len(set(table.seeds)) != len(table.seeds):
        lines.append("seeds: one is there twice; its runs would be the same")
    if table.reference not in names:
        lines.append(f"reference: {table.reference!r} is no cell; choose one of {', '.join(names)}")
    return lines


def _find(name: str, folder: Path) -> Path:
    known = sorted(p.stem for ext in ("toml", "py") for p in folder.glob(f"*.{ext}") if p.stem != "__init__")
    for extension in ("toml", "py"):
        if name in known and (path := folder / f"{name}.{extension}").is_file():
            return path
    raise ConfigError(f"experiment {name!r}: is not in {folder.name}/; choose one of {', '.join(known)}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: is not TOML: {error}") from error


def _read_python(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"simulations.experiments.{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path.name}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not isinstance(vars(module).get("EXPERIMENT"), dict):
        raise ConfigError(f"{path.name}: has no dictionary EXPERIMENT; define one with the keys of a TOML")
    return vars(module)["EXPERIMENT"]
