# SPDX-License-Identifier: Apache-2.0
"""What a TOML may leave to be filled in: the demonstration's sites, and where relative paths start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedpeft.config.options import option_names
from fedpeft.methods.base import find
from fedpeft.settings import (
    MOST_PARTS,
    AdapterSettings,
    DataSettings,
    FederationSettings,
    ModelSettings,
)

DEMONSTRATION_PACKAGES: Final = ("stdlib", "torch", "transformers", "scipy", "pandas", "sympy", "networkx")
"""The sites of source `docstrings` where none are given, one package each."""

DEMONSTRATION_UNITS: Final = 1000
"""Declared units of a site of source `docstrings`; each package above has more objects than that."""

_DEFAULT_SOURCE: Final = DataSettings().source
_DEFAULT_BACKBONE: Final = ModelSettings().backbone
_DEFAULT_RANK: Final = AdapterSettings().rank
_DEFAULT_ROUNDS: Final = FederationSettings().rounds
_MOST_CARRIED: Final = 1024
"""Of what is filled in: a module's residual is then no larger than a fully trained adapter of it."""


def fill_method(raw: dict[str, Any]) -> None:
    """Fill in what the preset of ``method`` says, where nothing else does."""
    for path, value in _preset(raw).items():
        section, _, key = path.partition(".")
        table = raw.setdefault(section, {})
        if isinstance(table, dict):
            table.setdefault(key, value)
    if "selection.selector" in _preset(raw):
        _fill_synthesis(raw)


def _preset(raw: dict[str, Any]) -> Mapping[str, Any]:
    """What the method sets; nothing for one that is not known, which the check tells of."""
    name = raw.get("method")
    return find(name).sets if name in option_names("method") else {}


def _fill_synthesis(raw: dict[str, Any]) -> None:
    """Where a method chooses blocks by no rows of its own, the run makes them."""
    selection = raw.get("selection")
    if not isinstance(selection, dict):
        return
    if selection.get("selector") == "selft" and "data" not in selection:
        synthesis = raw.setdefault("synthesis", {})
        if isinstance(synthesis, dict):
            synthesis.setdefault("generator", "pool")


def fill_sites(raw: dict[str, Any]) -> None:
    """Fill in the sites of the demonstration or of a partition, or what they leave out.

    A deployment without an evaluation file evaluates nothing.
    """
    data = raw.get("data", {})
    if not isinstance(data, dict):
        return
    partition = data.get("partition", {})
    if isinstance(partition, dict) and partition.get("kind", "none") != "none":
        _fill_parts(raw, partition)
    elif data.get("source") == "sites":
        evaluation = raw.setdefault("evaluation", {})
        if isinstance(evaluation, dict) and "path" not in evaluation:
            evaluation.setdefault("records", 0)
    elif data.get("source", _DEFAULT_SOURCE) == "docstrings":
        raw.setdefault("sites", [{"name": name, "package": name} for name in DEMONSTRATION_PACKAGES])
        _fill_units(raw, DEMONSTRATION_UNITS)


def _fill_parts(raw: dict[str, Any], partition: dict[str, Any]) -> None:
    parts, total = partition.get("parts"), partition.get("declared_units")
    if type(parts) is int and 1 <= parts <= MOST_PARTS:
        raw.setdefault("sites", [{"name": f"part{number}"} for number in range(parts)])
    sites = raw.get("sites")
    if type(total) is int and total > 0 and isinstance(sites, list) and sites:
        _fill_units(raw, max(1, total // len(sites)))


def _fill_units(raw: dict[str, Any], declared_units: int) -> None:
    sites = raw["sites"]
    for site in sites if isinstance(sites, list) else ():
        if isinstance(site, dict):
            site.setdefault("declared_units", declared_units)


def fill_residual(raw: dict[str, Any]) -> None:
    """Room for all that ``fedex`` can leave over, and no average of what must stay together.

    In a deployment the room is named, since every organization's own file needs the same.
    """
    adapter, federation = (raw.get(name) for name in ("adapter", "federation"))
    if not (isinstance(adapter, dict) and isinstance(federation, dict)):
        return
    if federation.get("aggregation") != "fedex" or adapter.get("kind") != "lora":
        return
    federation.setdefault("average_iterates", False)
    rounds, rank = federation.get("rounds", _DEFAULT_ROUNDS), adapter.get("rank", _DEFAULT_RANK)
    data, sites = raw.get("data"), raw.get("sites")
    deployed = isinstance(data, dict) and data.get("source") == "sites"
    if type(rounds) is int and type(rank) is int and isinstance(sites, list) and not deployed:
        room = rounds * (len(sites) - 1) * rank
        adapter.setdefault("residual_rank", max(0, min(room, _MOST_CARRIED)))


def resolve_paths(raw: dict[str, Any], folder: Path, default_root: str | None) -> None:
    """Make every path absolute.

    Args:
        raw: the configuration; what is no path in it is left for the check to find.
        folder: of the TOML.
        default_root: of ``[data] root``, relative to the working directory; empty or ``None``: ``folder``.
    """
    data = raw.setdefault("data", {})
    root = folder
    if isinstance(data, dict):
        if "root" not in data:
            data["root"] = str(_resolved(default_root, Path.cwd()) if default_root else folder)
        elif isinstance(data["root"], str):
            data["root"] = str(_resolved(data["root"], folder))
        root = Path(data["root"]) if isinstance(data["root"], str) else folder
    sites = raw.get("sites")
    partition = data.get("partition") if isinstance(data, dict) else None
    tables = [raw.get("evaluation"), raw.get("synthesis"), partition]
    for table in (*tables, *(sites if isinstance(sites, list) else ())):
        if isinstance(table, dict):
            _resolve_table(table, root)
    selection = raw.get("selection")
    if isinstance(selection, dict) and isinstance(selection.get("data"), str):
        selection["data"] = str(_resolved(selection["data"], root))
    _resolve_backbone(raw.get("model"), folder)
    for section, key in (("privacy", "allocation_start"), ("adapter", "start_file")):
        table = raw.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = str(_resolved(table[key], folder))


def _resolve_table(table: dict[str, Any], root: Path) -> None:
    if isinstance(table.get("path"), str):
        table["path"] = str(_resolved(table["path"], root))
    if isinstance(table.get("paths"), list):
        table["paths"] = [str(_resolved(p, root)) if isinstance(p, str) else p for p in table["paths"]]
    name = table.get("dataset")
    if (
        isinstance(name, str)
        and name
        and (name.startswith((".", "/", "~")) or _resolved(name, root).is_dir())
    ):
        table["dataset"] = str(_resolved(name, root))


def _resolve_backbone(model: Any, folder: Path) -> None:
    """A path that exists wins over a hub id of the same name, as it does for whoever loads it."""
    if not isinstance(model, dict) or not isinstance(model.get("backbone"), str):
        return
    backbone = model["backbone"]
    path = _resolved(backbone, folder)
    looks_like_path = backbone.startswith((".", "/", "~")) or backbone.lower().endswith(".gguf")
    if backbone and backbone != _DEFAULT_BACKBONE and (looks_like_path or path.exists()):
        model["backbone"] = str(path)


def _resolved(path: str, folder: Path) -> Path:
    try:
        return (folder / Path(path).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, no home, a null byte: no such file
        return folder / path
