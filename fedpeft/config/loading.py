# SPDX-License-Identifier: Apache-2.0
"""From a TOML file and the command line's ``--set`` to a checked configuration, and back to TOML."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomli_w
from pydantic import ValidationError

from fedpeft.config.advice import missing_files
from fedpeft.config.checks import cross_problems
from fedpeft.config.defaults import fill_method, fill_residual, fill_sites, resolve_paths
from fedpeft.config.fields import KeyPath, field_problems
from fedpeft.config.overrides import apply_overrides, apply_site_overrides
from fedpeft.config.problems import Problem
from fedpeft.config.reading import read_toml
from fedpeft.config.run_config import RunConfig
from fedpeft.errors import ConfigError
from fedpeft.settings import Section, SiteSettings

DATA_ROOT_VARIABLE: Final = "FEDPEFT_DATA_ROOT"
"""Environment variable with the default of ``[data] root``."""

_ELEMENT: Final = re.compile(r"\[[0-9]+\]$")


def load_config(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), *, files_must_exist: bool = False
) -> RunConfig:
    """Read and check a run's TOML.

    Relative paths of data start from ``[data] root``. That itself, and a backbone on disk, start from the
    folder of the TOML. The root defaults to the environment variable ``FEDPEFT_DATA_ROOT``, else to that
    folder.

    Args:
        path: of the TOML.
        overrides: ``KEY=VALUE``, each as if it stood in the file. VALUE is TOML; what is no TOML is text.
            ``sites.NAME.KEY=VALUE`` reaches a site by its name.
        files_must_exist: whether what ``missing_files`` finds is wrong too.

    Raises:
        ConfigError: everything that is wrong, together.
    """
    source = Path(path).absolute()
    config = _build(read_toml(source), source.parent, overrides, files_must_exist)
    config._source_path = source
    return config


def parse_config(raw: Mapping[str, Any], folder: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Check a configuration given as plain tables.

    Args:
        raw: what the TOML would hold; it is not changed.
        folder: where relative paths start from.
        overrides: as of ``load_config``.

    Raises:
        ConfigError: everything that is wrong, together.
    """
    return _build(copy.deepcopy(dict(raw)), folder.absolute(), overrides, False)


def to_toml(config: RunConfig) -> str:
    """The whole configuration with defaults filled in and absolute paths; ``load_config`` reads it back.

    Args:
        config: of a run.
    """
    tables = config.model_dump(mode="json", exclude_none=True)
    sites = tables.pop("sites")
    return "\n".join([tomli_w.dumps(tables), *(f"[[sites]]\n{tomli_w.dumps(site)}" for site in sites)])


def _build(raw: dict[str, Any], folder: Path, overrides: Sequence[str], files_must_exist: bool) -> RunConfig:
    problems = apply_overrides(raw, overrides)
    fill_method(raw)
    fill_sites(raw)
    fill_residual(raw)
    problems += apply_site_overrides(raw, overrides)
    resolve_paths(raw, folder, os.environ.get(DATA_ROOT_VARIABLE))
    try:
        config = RunConfig.model_validate(raw)
    except (ValidationError, ConfigError) as error:
        of_fields = field_problems(error, raw) if isinstance(error, ValidationError) else {}
        config, together = _check_the_rest(raw, of_fields)
        problems += [*of_fields.values(), *together]
    lines = [problem.line for problem in problems]
    lines += missing_files(config) if files_must_exist else []
    if lines:
        raise ConfigError(lines)
    return config


def _check_the_rest(raw: dict[str, Any], bad: Mapping[KeyPath, Problem]) -> tuple[RunConfig, list[Problem]]:
    """The configuration without the keys that do not fit by themselves, and what of it does not go together.

    Findings that rest on one of the other keys are left out.
    """
    sound = copy.deepcopy(raw)
    for path in dict.fromkeys(_removable(path) for path in bad):
        _take_out(sound, path)
    tables = [site for site in sound.get("sites", ()) if site is not None]
    sites = tuple(SiteSettings.model_validate(table) for table in tables if "name" in table)
    sections: dict[str, Any] = {
        name: type(field.default).model_validate(sound.get(name, {}))
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.default, Section)
    }
    method = {"method": sound["method"]} if "method" in sound else {}
    unsound = {_ELEMENT.sub("", problem.keys[0]) for problem in bad.values()}
    if len(sites) < len(sound.get("sites", ())):
        unsound.add("sites")
    rest = RunConfig.model_construct(sites=sites, **sections, **method)
    found = [p for p in cross_problems(rest) if not any(_rests_on(key, unsound) for key in p.keys)]
    return rest, found


def _rests_on(key: str, unsound: set[str]) -> bool:
    section = key.partition(".")[0]
    return key in unsound or (section != "sites" and section in unsound)


def _removable(path: KeyPath) -> KeyPath:
    """The whole key where one element of its list does not fit; a site stands for itself."""
    start = 2 if path[0] == "sites" else 0
    return path[: next((i for i, part in enumerate(path) if i >= start and isinstance(part, int)), len(path))]


def _take_out(raw: dict[str, Any], path: KeyPath) -> None:
    """Remove a key; an element of a list becomes ``None``, so that the others keep their places."""
    table: Any = raw
    for part in path[:-1]:
        table = table[part]
    last: Any = path[-1]
    if isinstance(table, list):
        table[last] = None
    elif last in table:
        del table[last]
