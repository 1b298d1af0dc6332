# SPDX-License-Identifier: Apache-2.0
"""The record: one instruction with its response, and the privacy unit that owns it."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    id: str
    unit: str
    instruction: str
    response: str
    task: str = ""


def is_unicode(text: str) -> bool:
    """Say whether ``text`` can be encoded: half of a surrogate pair cannot, and no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
