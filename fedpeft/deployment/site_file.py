# SPDX-License-Identifier: Apache-2.0
"""``SITE.toml``: what an organization tells its own resident site.

::

    [site]
    policy = "policy.toml"              # beside this file
    socket = "/run/fedpeft/site.sock"   # in a folder that the courier's group may enter
    courier = "fedpeft-courier"         # the user that runs the SuperNode
    path = "/srv/notes/records.jsonl"   # the records, as in a run's [[sites]]

    [data]                              # as in a run's TOML
    source = "jsonl"

Backbone, adapter and columns are named as in a run. What the coordinator decides (steps, rates, rounds) has
no place here, and what the policy decides (unit, epsilon) stands in the policy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

import fedpeft
from fedpeft.config import RunConfig, parse_config
from fedpeft.config.reading import read_toml
from fedpeft.errors import ConfigError
from fedpeft.privacy.policy import Policy, describe, load_policy
from fedpeft.settings import FilePath, NonNegative, Positive, Table, Text

_LEDGERS: Final = "ledger"
SECTIONS: Final[Mapping[str, frozenset[str] | None]] = {
    "model": None,
    "adapter": None,
    "data": None,
    "privacy": frozenset({"missing_unit", "max_records_per_unit", "arithmetic", "task_weights"}),
    "training": frozenset(
        {"max_tokens", "prefix_cache", "prefix_cache_mb", "activation_checkpointing", "autocast"}
    ),
    "synthesis": frozenset({"tasks"}),
    "evaluation": frozenset({"private", "labels", "path", "public"}),
    "run": frozenset({"threads"}),
}
"""Sections that are as in a run's TOML, with the keys that are the organization's; ``None``: all."""


class SiteKeys(Table):
    """The section ``[site]``; where the records lie is told as in a run's ``[[sites]]``."""

    policy: FilePath = Path("policy.toml")
    """The organization's terms."""
    socket: FilePath
    """Where the courier finds the site; its folder must admit the courier's group and nobody else."""
    courier: Text
    """The user, by name or number, that runs the SuperNode."""
    folder: FilePath = Path(".")
    """Of the ledger and of private caches; the same for ever, on a local disk."""
    package: Text | None = None
    """An installed package (source `docstrings`)."""
    queue_s: Positive = 3600.0
    """Longest wait of a request for the one that is in work."""
    slot_s: NonNegative = 1.0
    """Answers to trainings leave when the clock shows a whole multiple of so many seconds, so that how long
    the work took tells little; more is safer. 0 does not wait."""
    stop_s: Positive = 600.0
    """Longest wait for the request in work when the site is told to stop."""
    superlink: Annotated[str, Field(pattern=r"^[^\s/]+:[0-9]{1,5}$")] | None = None
    """The coordinator's `HOST:PORT`, for `fedpeft site check`."""
    certificate: FilePath | None = None
    """The coordinator's root certificate, likewise."""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A ``SITE.toml`` that goes together with its policy.

    Attributes:
        path: of the file itself.
        keys: of ``[site]``, paths made absolute.
        policy: that it names.
        config: backbone, adapter and data, as a run with this one site.
    """

    path: Path
    keys: SiteKeys
    policy: Policy
    config: RunConfig

    @property
    def ledger(self) -> Path:
        """The ledger of the policy's identity."""
        return self.keys.folder / _LEDGERS / f"{self.policy.identity}.sqlite"

    def private_paths(self) -> list[Path]:
        """What nobody but the site's own user may read: data, this file, policy, ledger, caches."""
        site = self.config.sites[0]
        folder = Path(site.dataset or "")
        data = [*site.files, *([folder] if folder.is_absolute() else [])]
        if site.dataset and not folder.is_absolute():  # where the library `datasets` keeps what it fetched
            data.append(Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "datasets")
        return [*data, self.path, self.keys.policy, self.ledger.parent, self.ledger]

    def fixed_paths(self) -> list[Path]:
        """What others may read but not change: the backbone, where it is a path, and this package."""
        backbone = Path(self.config.model.backbone)
        return [*([backbone] if backbone.is_absolute() else []), Path(fedpeft.__file__).parent]


def load_site_file(path: Path | str) -> SiteFile:
    """Read and check a ``SITE.toml`` and the policy that it names.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    path = Path(path).absolute()
    raw = read_toml(path)
    keys = _keys(raw.get("site", {}), path)
    policy = load_policy(keys.policy)
    problems = _foreign_keys(raw, path)
    try:
        config = parse_config(_as_run(raw, policy), path.parent)
    except ConfigError as error:
        named = re.compile(rf"\bsites\.{re.escape(policy.identity)}\.")
        problems += [f"{path}: {named.sub('site.', problem)}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return SiteFile(path, keys, policy, config)


def _keys(table: Any, path: Path) -> SiteKeys:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: site: write it as a table [site]")
    try:
        keys = SiteKeys(**table)
    except ValidationError as error:
        lines = [f"{path}: site.{describe(problem, SiteKeys, '[site]')}" for problem in error.errors()]
        raise ConfigError(lines) from error
    own = {name: getattr(keys, name) for name in ("policy", "socket", "folder", "certificate")}
    absolute = {name: path.parent / value.expanduser() for name, value in own.items() if value is not None}
    return keys.model_copy(update=absolute)


def _foreign_keys(raw: Mapping[str, Any], path: Path) -> list[str]:
    """What would have no effect here, or would be another's to decide."""
    problems = []
    for section, table in raw.items():
        if section == "site":
            continue
        allowed = SECTIONS.get(section, frozenset())
        if section not in SECTIONS:
            problems.append(f"{path}: {section}: is not a section of a SITE.toml; leave it out")
        elif allowed is not None and isinstance(table, dict):
            problems += [
                f"{path}: {section}.{key}: is the coordinator's or the policy's to say; leave it out"
                for key in table
                if key not in allowed
            ]
    return problems


def _as_run(raw: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    """The organization alone, as the tables of a run."""
    where = {name: value for name in (*Table.model_fields, "package") if (value := raw["site"].get(name))}
    terms = {"unit": policy.unit, "epsilon": policy.epsilon, "delta": policy.delta}
    sections = {
        name: {key: value for key, value in raw[name].items() if allowed is None or key in allowed}
        for name, allowed in SECTIONS.items()
        if isinstance(raw.get(name), dict)
    }
    evaluation = sections.get("evaluation", {})
    return sections | {
        "privacy": sections.get("privacy", {}) | terms,
        "evaluation": {"records": 1 if "path" in evaluation else 0} | evaluation,
        "sites": [{"name": policy.identity, "declared_units": policy.declared_units, **where}],
    }
