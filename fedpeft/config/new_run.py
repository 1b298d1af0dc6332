# SPDX-License-Identifier: Apache-2.0
"""A commented TOML for a new run, from the five things that only its user can know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import tomli_w

from fedpeft.config.run_config import RunConfig, default_delta
from fedpeft.config.schema import default_of
from fedpeft.errors import ConfigError
from fedpeft.settings import SiteSettings

NAME: Final = "{name}"
"""Stands for an organization's name in the path of its records."""

_SOURCES: Final = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_SITE_NAME: Final = re.compile(SiteSettings.model_fields["name"].metadata[0].pattern)

_LEARNED: Final[dict[str, dict[str, str]]] = {
    "model": {
        "backbone": "or a hub id, a folder, a GGUF file",
    },
    "adapter": {
        "rank": "of the update of each weight",
        "layers": "or [-1, -2], the top two blocks: less to train, so less noise in all",
    },
    "data": {
        "instruction": "column of the instruction",
        "response": "column of the response",
        "max_length": "tokens of a record; longer responses are cut",
        "held_out": "share of the units that is kept for evaluation",
    },
    "privacy": {
        "max_records_per_unit": "that train; only where a unit is a column",
    },
    "training": {
        "sampling_rate": "share of the units in a step; more of them drown less in noise",
        "learning_rate": "`fedpeft plan RUN.toml --tune --data PUBLIC.jsonl` tries others on public rows",
    },
    "federation": {
        "rounds": "more rounds mean more noise in each",
    },
    "evaluation": {
        "public": "true: the held-out records are public, so they may be measured exactly",
        "records": "most to evaluate; 0 evaluates nothing",
    },
}
"""Keys that people change first, with what to know about each; written as comments, with their defaults."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What only the user can know.

    Attributes:
        sites: names of the organizations.
        records: path of each one's records, ``{name}`` standing for its name; its ending tells the format.
        units: the public number of units of each.
        unit: what is protected as one: ``record``, or a column.
        epsilon: most that any organization spends.
    """

    sites: tuple[str, ...]
    records: str
    units: tuple[int, ...]
    unit: str
    epsilon: float


def check_sites(sites: tuple[str, ...]) -> None:
    """Raises ``ConfigError`` where a site cannot have its name."""
    seen: set[str] = set()
    if not sites:
        raise ConfigError("sites: at least 1 is needed; name the organizations, with commas between them")
    for name in sites:
        if _SITE_NAME.fullmatch(name) is None:
            rule = f"must match {_SITE_NAME.pattern}; use letters, digits, dots, dashes"
            raise ConfigError(f'sites = "{name}": {rule}')
        if name.casefold() in seen:
            raise ConfigError(f'sites = "{name}": is named twice; give each organization its own name')
        seen.add(name.casefold())


def check_records(records: str, num_sites: int) -> None:
    """Raises ``ConfigError`` where no source reads such files, or all sites would have one file."""
    if PurePath(records).suffix.lower() not in _SOURCES:
        known = " or ".join(_SOURCES)
        raise ConfigError(
            f'records = "{records}": must end in {known}; convert the file, or edit [data] later'
        )
    if num_sites > 1 and NAME not in records:
        rule = f"is one file for {num_sites} organizations; put {NAME} where their names stand"
        raise ConfigError(f'records = "{records}": {rule}')


def check_units(units: tuple[int, ...], num_sites: int) -> None:
    """Raises ``ConfigError`` where there are not enough figures, or one is no number of units."""
    if len(units) not in (1, num_sites):
        rule = f"must be 1 figure for all, or {num_sites}, one for each organization; add or remove some"
        raise ConfigError(f"units = {', '.join(map(str, units))}: {rule}")
    if min(units) < 1:
        raise ConfigError(f"units = {min(units)}: must be at least 1; give the public number of units")


def new_run(answers: Answers) -> str:
    """The TOML, commented; ``load_config`` accepts it.

    Raises:
        ConfigError: an answer cannot be used.
    """
    check_sites(answers.sites)
    check_records(answers.records, len(answers.sites))
    check_units(answers.units, len(answers.sites))
    units = answers.units * (len(answers.sites) // len(answers.units))
    chosen: dict[str, dict[str, Any]] = {
        "data": {"source": _SOURCES[PurePath(answers.records).suffix.lower()]},
        "privacy": {"unit": answers.unit, "epsilon": answers.epsilon},
    }
    hints = {
        "privacy": [f"# delta = {default_delta(max(units)):.3g}  # default: 1 / units^1.1 of the largest"]
    }
    parts = [_HEAD]
    for section in (name for name in RunConfig.model_fields if name in _LEARNED):
        lines = [*_assignments(chosen.get(section, {})), *hints.get(section, ()), *_comments(section)]
        parts.append("\n".join([f"[{section}]", *lines]))
    for name, declared in zip(answers.sites, units, strict=True):
        site = {"name": name, "path": answers.records.replace(NAME, name), "declared_units": declared}
        parts.append("\n".join(["[[sites]]", *_assignments(site)]))
    return "\n\n".join(parts) + "\n"


_HEAD: Final = """\
# A run of fedpeft.
#
#   fedpeft config check RUN.toml     is it sound?
#   fedpeft plan RUN.toml             what will it cost? Nothing is trained or read.
#   fedpeft simulate RUN.toml         train, over all organizations, on this machine
#
# What is commented out shows its default. `fedpeft config schema --markdown` explains every key."""


def _assignments(table: dict[str, Any]) -> list[str]:
    return tomli_w.dumps(table).splitlines()


def _comments(section: str) -> list[str]:
    lines = []
    for key, meaning in _LEARNED[section].items():
        (line,) = _assignments({key: default_of((section, key))})
        lines.append(f"# {line}  # {meaning}")
    return lines
