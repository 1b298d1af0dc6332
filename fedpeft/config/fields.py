# SPDX-License-Identifier: Apache-2.0
"""Each key by itself: is it known, is it there, is its value one that it accepts?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fedpeft.config import schema
from fedpeft.config.problems import Problem, choose, shown

_BARE_KEY = re.compile(r"[A-Za-z0-9_.-]+")

KeyPath = tuple[str | int, ...]
"""Where a key stands in nested tables; whole numbers count the elements of a list."""


def field_problems(error: ValidationError, raw: Mapping[str, Any]) -> dict[KeyPath, Problem]:
    """One problem for each key that is unknown, absent or has a value it does not accept.

    Args:
        error: of validating ``raw``.
        raw: the configuration as plain tables.

    Returns:
        The problems, by where the key stands in ``raw`` or is missing from it.
    """
    found: dict[KeyPath, Problem] = {}
    for item in error.errors(include_url=False, include_context=False):
        path = _given_part(item["loc"], raw)
        if item["type"] == "missing":
            path = (*path, item["loc"][-1])
        if path not in found:  # a union reports every alternative that did not fit
            key = dotted(path, raw)
            found[path] = Problem((key,), key + _describe(item["type"], path, _value_at(raw, path)))
    return found


def dotted(path: Sequence[str | int], raw: Any) -> str:
    """The key at ``path`` as ``--set`` would name it: a site goes by its name where it has one."""
    words: list[str] = []
    for part in path:
        raw = _child(raw, part)
        if isinstance(part, str):
            words.append(_word(part))
        elif isinstance(raw, Mapping) and isinstance(raw.get("name"), str):
            words.append(_word(raw["name"]))
        else:
            words[-1] += f"[{part}]"
    return ".".join(words)


def _word(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _describe(kind: str, path: KeyPath, value: Any) -> str:
    if kind == "missing":
        return f": missing, and it has no default; add {schema.expected(path)}"
    if kind == "extra_forbidden":
        return f" = {shown(value)}: unknown key; {_mend_unknown(path)}"
    return f" = {shown(value)}: must be {schema.expected(path)}; {_mend_value(path)}"


def _mend_unknown(path: KeyPath) -> str:
    name = str(path[-1])
    elsewhere = schema.sections_with(name)
    if elsewhere:
        return "it belongs in " + " or ".join(f"[{section}]" for section in elsewhere)
    return choose(name, schema.known_keys(path[:-1]))


def _mend_value(path: KeyPath) -> str:
    if path == ("sites",):
        return "write each site as a table [[sites]]"
    if len(path) == 1 and schema.known_keys(path):
        return f"write it as a table [{path[0]}]"
    if not schema.has_default(path):
        return "change it"
    default = schema.default_of(path)
    return "change it, or leave it out" + ("" if default is None else f" for {shown(default)}")


def _child(raw: Any, part: str | int) -> Any:
    return raw[part] if _is_in(raw, part) else None


def _is_in(raw: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(raw, list) and part < len(raw)
    return isinstance(raw, Mapping) and part in raw


def _value_at(raw: Any, path: KeyPath) -> Any:
    for part in path:
        raw = _child(raw, part)
    return raw


def _given_part(location: Sequence[str | int], raw: Any) -> KeyPath:
    """The leading part of an error's location that stands in the input; the rest names alternatives."""
    path: list[str | int] = []
    for part in location:
        if not _is_in(raw, part):
            break
        path.append(part)
        raw = _child(raw, part)
    return tuple(path)
