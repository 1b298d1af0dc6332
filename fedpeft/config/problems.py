# SPDX-License-Identifier: Apache-2.0
"""One thing to mend in a configuration, and the words that every such line is made of."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import NamedTuple

_LONGEST_VALUE = 60


class Problem(NamedTuple):
    """One thing to mend.

    Attributes:
        keys: the dotted keys it is about; the first is the one to change.
        line: what to show: key, value given, what is allowed, the mend.
    """

    keys: tuple[str, ...]
    line: str


def shown(value: object) -> str:
    """A value nearly as TOML would write it, on one line and not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def closest(word: str, known: Sequence[str]) -> str | None:
    """The mend for a word that was probably meant to be a known one; ``None`` where none is like it."""
    found = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{found[0]}"?' if found else None


def choose(word: str, known: Sequence[str]) -> str:
    """The mend for an unknown word: the known word most like it, else all of them."""
    return closest(word, known) or "choose one of " + ", ".join(known)
