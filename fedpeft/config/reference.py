# SPDX-License-Identifier: Apache-2.0
"""Every key of a run's TOML for people to read: the JSON Schema as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fedpeft.config.problems import shown
from fedpeft.config.schema import expected, has_default, json_schema, known_keys
from fedpeft.types import JsonDict

_HEAD = """\
# Every key of the TOML

`fedpeft config schema` prints this as a JSON Schema, by which an editor completes and checks a TOML;
`fedpeft config schema --markdown` prints this page. A key is set in its section, or from outside with
`--set SECTION.KEY=VALUE`.

## Outside every section
"""


def reference() -> str:
    """The page, in Markdown: a section for each table, a heading for each key."""
    schema = json_schema()
    parts = [_HEAD, *_keys(schema, schema, (), "")]
    for section in known_keys(()):
        node = schema["properties"][section]
        is_list = section == "sites"
        path: tuple[str | int, ...] = (section, 0) if is_list else (section,)
        if known_keys(path):
            table = _resolved(schema, node["items"] if is_list else node)
            title = "[[sites]]" if is_list else f"[{section}]"
            about = table.get("description", "") if not is_list else node["description"]
            parts += [f"## `{title}`\n", f"{_one_line(about)}\n", *_keys(schema, table, path, f"{section}.")]
    return "\n".join(parts)


def _keys(schema: JsonDict, table: JsonDict, path: Sequence[str | int], prefix: str) -> Iterator[str]:
    """The keys of a table that hold values, then those of its tables."""
    inner = []
    for name, node in table["properties"].items():
        place = (*path, name)
        if name == "sites" or (known_keys(place) and not path):
            continue
        if known_keys(place):
            inner.append((name, place))
            continue
        yield f"### `{prefix}{name}`\n"
        yield f"{_allowed(node, place)}\n"
        if "description" in node:
            yield f"{_one_line(node['description'])}\n"
    for name, place in inner:
        found = _resolved(schema, table["properties"][name])
        yield f"### `[{prefix}{name}]`\n"
        yield f"{_one_line(found.get('description', ''))}\n"
        yield from _keys(schema, found, place, f"{prefix}{name}.")


def _allowed(node: JsonDict, path: Sequence[str | int]) -> str:
    options = node.get("enum") or next((a["enum"] for a in node.get("anyOf", ()) if "enum" in a), None)
    words = " or ".join(f'`"{option}"`' for option in options) if options else expected(path)
    words = re.sub(r"matches (\S+)", r"matches `\1`", words)  # a pattern's brackets would be a link
    if not has_default(path):
        return f"{words}; **must be given**"
    default = _default(node)
    return f"{words}; *default:* {default}" if default else words


def _default(node: JsonDict) -> str:
    value: Any = node.get("default")
    return "" if value is None or value in ([], {}) else f"`{shown(value)}`"


def _resolved(schema: JsonDict, node: JsonDict) -> JsonDict:
    if "$ref" not in node:
        return node
    found: JsonDict = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())
