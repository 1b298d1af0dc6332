# SPDX-License-Identifier: Apache-2.0
"""``data.prompt``: text with columns in braces, ``"Review: {text}"``; a brace itself is doubled."""

from __future__ import annotations

import string
from collections.abc import Mapping


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that a template names, each once.

    Raises:
        ValueError: it names none, a brace has no partner, or there is more than a column's name between two.
    """
    found: dict[str, None] = {}
    for _, column, form, conversion in _parts(template):
        if column is None:
            continue
        if not column or form or conversion:
            raise ValueError("must have a column's name alone between two braces")
        found[column] = None
    if not found:
        raise ValueError("must name a column in braces")
    return tuple(found)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put the values of the columns into a template."""
    return "".join(
        text + ("" if column is None else values[column]) for text, column, _, _ in _parts(template)
    )


def tail_of(template: str) -> str:
    """What stands after the last column."""
    tail = ""
    for text, column, _, _ in _parts(template):
        tail = tail + text if column is None else ""
    return tail


def _parts(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(string.Formatter().parse(template))
