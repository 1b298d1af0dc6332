# SPDX-License-Identifier: Apache-2.0
"""The rows of a JSON-lines file: UTF-8, one object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fedpeft.data.rows import RowError, Rows, kind_of
from fedpeft.types import JsonDict


def jsonl_rows(path: Path) -> Rows:
    """Read the objects of ``path``; an empty file has none.

    Raises:
        OSError: while reading.
    """
    with path.open("rb") as file:
        for number, line in numbered_lines(file):
            try:
                yield f":{number}", _parse(line)
            except RowError as error:
                yield f":{number}", error


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number the lines from 1; blank ones are given only when another line follows them."""
    blank: list[tuple[int, bytes]] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            blank.append((number, line))
            continue
        yield from blank
        blank.clear()
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _parse(line: bytes) -> JsonDict:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8") from None
    if not text.strip():
        raise RowError("the line is blank; remove it (blank lines may stand at the end only)")
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON ({error}); write one JSON object a line") from None
    if not isinstance(row, dict):
        raise RowError(f"{kind_of(row)} instead of a JSON object; write one JSON object a line")
    return row


def _object(pairs: Sequence[tuple[str, Any]]) -> JsonDict:
    row = dict(pairs)
    if len(row) < len(pairs):  # json would keep the last, and with it perhaps another owner
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise RowError(f"column {twice!r} occurs twice; keep one")
    return row
