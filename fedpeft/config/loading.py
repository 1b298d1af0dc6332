# SPDX-License-Identifier: Apache-2.0
"""From a TOML file and the command line's ``--set`` to a checked configuration, and back to TOML."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomli_w
from pydantic import ValidationError

from fedpeft.config.checks import cross_problems
from fedpeft.config.defaults import fill_sites, resolve_paths
from fedpeft.config.fields import KeyPath, field_problems
from fedpeft.config.overrides import apply_overrides, apply_site_overrides
from fedpeft.config.problems import Problem
from fedpeft.config.reading import read_toml
from fedpeft.config.run_config import RunConfig
from fedpeft.errors import ConfigError
from fedpeft.settings import Section, SiteSettings

DATA_ROOT_VARIABLE: Final = "FEDPEFT_DATA_ROOT"
"""Environment variable with the default of ``[data] root``."""


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a run's TOML. Files that it names are not looked for: see ``missing_files``.

    Relative paths of data start from ``[data] root``. That itself, and a backbone on disk, start from the
    folder of the TOML. The root defaults to the environment variable ``FEDPEFT_DATA_ROOT``, else to that
    folder.

    Args:
        path: of the TOML.
        overrides: ``KEY=VALUE``, each as if it stood in the file. VALUE is TOML; what is no TOML is text.
            ``sites.NAME.KEY=VALUE`` reaches a site by its name.

    Raises:
        ConfigError: everything that is wrong, together.
    """
    source = Path(path).absolute()
    config = _build(read_toml(source), source.parent, overrides)
    config._source_path = source
    return config


def parse_config(raw: Mapping[str, Any], folder: Path) -> RunConfig:
    """Check a configuration given as plain tables.

    Args:
        raw: what the TOML would hold; it is not changed.
        folder: where relative paths start from.

    Raises:
        ConfigError: everything that is wrong, together.
    """
    return _build(copy.deepcopy(dict(raw)), folder.absolute(), ())


def to_toml(config: RunConfig) -> str:
    """The whole configuration with defaults filled in and absolute paths; ``load_config`` reads it back."""
    tables = config.model_dump(mode="json", exclude_none=True)
    sites = tables.pop("sites")
    return "\n".join([tomli_w.dumps(tables), *(f"[[sites]]\n{tomli_w.dumps(site)}" for site in sites)])


def _build(raw: dict[str, Any], folder: Path, overrides: Sequence[str]) -> RunConfig:
    problems = apply_overrides(raw, overrides)
    fill_sites(raw)
    problems += apply_site_overrides(raw, overrides)
    resolve_paths(raw, folder, os.environ.get(DATA_ROOT_VARIABLE))
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        of_fields = field_problems(error, raw)
        problems += [*of_fields.values(), *_cross_problems_of_the_rest(raw, of_fields)]
    except ConfigError as error:
        raise ConfigError([*_lines(problems), *error.problems]) from None
    if problems:
        raise ConfigError(_lines(problems))
    return config


def _lines(problems: Sequence[Problem]) -> list[str]:
    return [problem.line for problem in problems]


def _cross_problems_of_the_rest(raw: dict[str, Any], bad: Mapping[KeyPath, Problem]) -> list[Problem]:
    """What does not go together among the keys that each fit by themselves.

    The others are taken out, and with them every finding that rests on one.
    """
    sound = copy.deepcopy(raw)
    for path in bad:
        _take_out(sound, path)
    tables = [site for site in sound.get("sites", ()) if site is not None]
    sites = tuple(SiteSettings.model_validate(table) for table in tables if "name" in table)
    sections: dict[str, Any] = {
        name: type(field.default).model_validate(sound.get(name, {}))
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.default, Section)
    }
    unsound = {problem.keys[0] for problem in bad.values()}
    if len(sites) < len(sound.get("sites", ())):
        unsound.add("sites")
    found = cross_problems(RunConfig.model_construct(sites=sites, **sections))
    return [problem for problem in found if not any(_rests_on(key, unsound) for key in problem.keys)]


def _rests_on(key: str, unsound: set[str]) -> bool:
    section = key.partition(".")[0]
    return key in unsound or (section != "sites" and section in unsound)


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
