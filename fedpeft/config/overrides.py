# SPDX-License-Identifier: Apache-2.0
"""``--set KEY=VALUE``: a key of the TOML changed from outside, before anything is checked."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from fedpeft.config.problems import Problem, choose, shown

_SITES = "sites."


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> list[Problem]:
    """Set each ``KEY=VALUE`` in ``raw``, in order; those of single sites are left alone.

    Returns:
        What could not be set. Whether the keys exist is for the check of the whole to find.
    """
    problems: list[Problem] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        words = key.strip().split(".")
        if not equals or not all(words):
            line = f"--set {shown(override)}: must be KEY=VALUE, like privacy.epsilon=4; write it so"
            problems.append(Problem((key.strip(),), line))
        elif not override.startswith(_SITES):
            problems += _set(raw, words, _value(text))
    return problems


def apply_site_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> list[Problem]:
    """Set each ``sites.NAME.KEY=VALUE``, in order. NAME may have dots, KEY has none.

    Returns:
        What could not be set, because no site has that name.
    """
    problems: list[Problem] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        words = key.strip().split(".")
        if not override.startswith(_SITES) or not equals or not all(words):
            continue
        name, names = ".".join(words[1:-1]), _names(raw)
        if name not in names:
            line = f"--set {shown(override)}: must be sites.NAME.KEY=VALUE with the NAME of a site; "
            problems.append(Problem((key.strip(),), line + choose(name or words[-1], names)))
            continue
        for site in raw["sites"]:
            if isinstance(site, dict) and site.get("name") == name:
                site[words[-1]] = _value(text)
    return problems


def _names(raw: dict[str, Any]) -> list[str]:
    sites = raw.get("sites")
    tables = [site for site in sites if isinstance(site, dict)] if isinstance(sites, list) else []
    return [site["name"] for site in tables if isinstance(site.get("name"), str)]


def _set(raw: dict[str, Any], words: Sequence[str], value: Any) -> list[Problem]:
    table: Any = raw
    for depth, word in enumerate(words[:-1]):
        table = table.setdefault(word, {})
        if not isinstance(table, dict):
            parent, key = ".".join(words[: depth + 1]), ".".join(words)
            line = f"--set {key}: {parent} = {shown(table)} has no keys of its own; set {parent} itself"
            return [Problem((key,), line)]
    table[words[-1]] = value
    return []


def _value(text: str) -> Any:
    """A TOML value, or the text itself where it is none."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
