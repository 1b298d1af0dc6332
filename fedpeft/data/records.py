# SPDX-License-Identifier: Apache-2.0
"""The record: one instruction with its response, and the privacy unit that owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Turn(NamedTuple):
    """A message of a chat; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """An instruction-response pair.

    Attributes:
        id: names the record within its site.
        unit: the privacy unit that the record belongs to; all records with the same value are protected
            together.
        instruction: what the user asks.
        response: what the assistant should answer.
        task: the group that ranking distractors come from; empty where there is none.
        before: turns of a chat that come before the instruction.
        part: the value that tells its site where one table is split by a column.
    """

    id: str
    unit: str
    instruction: str
    response: str
    task: str = ""
    before: tuple[Turn, ...] = ()
    part: str = ""


def is_unicode(text: str) -> bool:
    """Say whether ``text`` can be encoded: half of a surrogate pair cannot, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
