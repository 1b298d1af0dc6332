# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of a run's TOML, and what it says about one key in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from fedpeft.config.options import OPTION_KEYS, option_names
from fedpeft.config.run_config import RunConfig
from fedpeft.types import JsonDict

_TYPES = {
    "integer": "a whole number",
    "number": "a finite number",
    "string": "text in quotes",
    "boolean": "true or false",
    "object": "a table",
}
_PLURALS = {"integer": "whole numbers", "string": "texts in quotes", "object": "tables"}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}


def json_schema() -> JsonDict:
    """A JSON Schema of the TOML, for editors: every key with its type, bounds, default and meaning.

    It cannot express what spans several keys; ``load_config`` checks that too.
    """
    schema = RunConfig.model_json_schema()
    for key in OPTION_KEYS:
        properties, name = _table(schema, key.split(".")[:-1]), key.split(".")[-1]
        node = properties[name]
        node.get("anyOf", [node])[0]["enum"] = list(option_names(key))  # beside null where it may be left out
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def known_keys(path: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the table at ``path``; none where no table can stand."""
    return tuple(_table(_schema(), path))


def settable_keys() -> tuple[str, ...]:
    """Every key that ``--set`` may change, dotted; those of single sites have ``NAME`` for its name."""
    return tuple(key for key, _ in leaves())


def values_of(key: str) -> tuple[str, ...]:
    """All values of a dotted key that takes one of a few, as ``--set`` takes them; none for other keys."""
    if key in OPTION_KEYS:
        return option_names(key)
    parts = key.split(".")
    place = ("sites", 0, parts[-1]) if parts[0] == "sites" else tuple(parts)
    return tuple(_choices(_at(_schema(), place)))


def leaves(path: tuple[str | int, ...] = (), prefix: str = "") -> Iterator[tuple[str, JsonDict]]:
    """Every key that holds a value under the table at ``path``, dotted, with its schema."""
    for name, node in _table(_schema(), path).items():
        if name == "sites":
            yield from leaves(("sites", 0), "sites.NAME.")
        elif known_keys((*path, name)):
            yield from leaves((*path, name), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node


def sections_with(key: str) -> tuple[str, ...]:
    """The sections that have a key of this name."""
    return tuple(
        name for name in known_keys(()) if key in known_keys((name, 0) if name == "sites" else (name,))
    )


def expected(path: Sequence[str | int]) -> str:
    """What the key at ``path`` accepts, in words: ``"a number above 0 and at most 1"``."""
    return " or ".join(_alternatives(_at(_schema(), path)))


def has_default(path: Sequence[str | int]) -> bool:
    """Whether the key at ``path`` may be left out."""
    return "default" in _at(_schema(), path)


def default_of(path: Sequence[str | int]) -> Any:
    """The default of the key at ``path``; ``None`` where it has none."""
    return _at(_schema(), path).get("default")


@cache
def _schema() -> JsonDict:
    return RunConfig.model_json_schema()


def _resolve(schema: JsonDict, node: JsonDict) -> JsonDict:
    """Follow a reference; what stands beside it (a description) is of no use here."""
    if "$ref" in node:
        target: JsonDict = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return target
    return node


def _at(schema: JsonDict, path: Sequence[str | int]) -> JsonDict:
    node = schema
    for part in path:
        node = _resolve(schema, node.get("items", {}) if isinstance(part, int) else _branch(node, part))
    return node


def _branch(node: JsonDict, key: str) -> JsonDict:
    """What stands under a key: one that has a name of its own, or any of a table of the user's own keys."""
    others = node.get("additionalProperties")
    found: JsonDict = node.get("properties", {}).get(key, others if isinstance(others, dict) else {})
    return found


def _table(schema: JsonDict, path: Sequence[str | int]) -> JsonDict:
    properties: JsonDict = _at(schema, path).get("properties", {})
    return properties


def _alternatives(node: JsonDict) -> Iterator[str]:
    if "anyOf" in node:
        for part in node["anyOf"]:
            yield from _alternatives(_resolve(_schema(), part))
    elif "enum" in node or "const" in node:
        yield " or ".join(f'"{value}"' for value in node.get("enum", [node.get("const")]))
    elif node.get("type") == "array":
        kind = _resolve(_schema(), node["items"])["type"]
        yield f"a list of {_PLURALS[kind]}" + (" that is not empty" if node.get("minItems") else "")
    elif node.get("format") == "path":
        yield "a path in quotes"
    elif node.get("type") in _TYPES:
        yield " ".join((_TYPES[node["type"]], *_limits(node)))


def _choices(node: JsonDict) -> Iterator[str]:
    """The values of an enumeration, beside null where there is one, or of a switch."""
    for part in node.get("anyOf", [node]):
        found = _resolve(_schema(), part)
        if found.get("type") == "boolean":
            yield from ("false", "true")
        yield from map(str, found.get("enum", [found["const"]] if "const" in found else []))


def _limits(node: JsonDict) -> Iterator[str]:
    bounds = [f"{words} {node[name]}" for name, words in _BOUNDS.items() if name in node]
    if bounds:
        yield " and ".join(bounds)
    if "pattern" in node:
        yield f"that matches {node['pattern']}"
    elif node.get("minLength"):
        yield "that is not empty"
