# SPDX-License-Identifier: Apache-2.0
"""A documented function becomes one instruction-response pair, of one of four tasks.

One pair an object, so that the privacy unit is the record. The task is a hash of the qualified name; an
object that its task does not suit is left out, rather than given another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fedpeft.data.records import Record
from fedpeft.data.source_code import CodeObject
from fedpeft.data.split import keyed_hash

MAX_SIGNATURE_TOKENS = 96
"""Longest signature that is asked for or shown, by :func:`count_tokens`."""

_TASK_KEY = b"fedpeft docstring tasks 1"
_TOKEN = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")


def count_tokens(text: str) -> int:
    """Count tokens by a public rule: each run of letters, each digit, each other visible character is one.

    Deliberately no tokenizer: the records must not depend on the backbone.
    """
    return len(_TOKEN.findall(text))


def make_record(item: CodeObject) -> Record | None:
    """Make the pair of ``item``, or ``None`` when the task that its name's hash chose does not suit it."""
    task, build = _TASKS[keyed_hash(item.qualified_name, _TASK_KEY) % len(_TASKS)]
    pair = build(item)
    if pair is None:
        return None
    instruction, response = pair
    return Record(item.qualified_name, item.qualified_name, instruction, response, task)


def _describe(item: CodeObject) -> tuple[str, str]:
    signature = item.signature if count_tokens(item.signature) <= MAX_SIGNATURE_TOKENS else "(...)"
    return f"What does `{item.qualified_name}{signature}` do?", item.text


def _name(item: CodeObject) -> tuple[str, str] | None:
    last = item.name.rpartition(".")[2]
    if last.casefold() in item.text.casefold():
        return None  # the question would hold its answer
    return f"Which function or method of `{item.module}` does this? {item.text}", item.name


def _signature(item: CodeObject) -> tuple[str, str] | None:
    if item.signature.startswith("()") or count_tokens(item.signature) > MAX_SIGNATURE_TOKENS:
        return None
    return f"What is the signature of `{item.qualified_name}`? {item.text}", item.signature


def _module(item: CodeObject) -> tuple[str, str]:
    return f"Which module has `{item.name}`? {item.text}", item.module


_Build = Callable[[CodeObject], tuple[str, str] | None]
_TASKS: tuple[tuple[str, _Build], ...] = (
    ("describe", _describe),
    ("name", _name),
    ("signature", _signature),
    ("module", _module),
)
