# SPDX-License-Identifier: Apache-2.0
"""The rows of a csv file: UTF-8, commas, a first line of columns; every value is text.

Read with the standard library: no type is inferred (an id ``007`` stays one), rows that are too short or too
long are told, and private data leave no copy in a cache.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fedpeft.data.jsonl import numbered_lines
from fedpeft.data.records import is_unicode
from fedpeft.data.rows import RowError, Rows
from fedpeft.types import JsonDict

_LONGEST_FIELD = 1 << 30  # the library's own bound, 128 KB, is below a long document


def csv_rows(path: Path) -> Rows:
    """Read the rows of ``path``, each by the line that it begins in; an empty file has none.

    Raises:
        OSError: while reading.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    columns: list[str] | None = None
    with path.open("rb") as file:
        for number, cells in _cells(file):
            try:
                if isinstance(cells, RowError):
                    raise cells
                if columns is None:
                    columns = _columns(cells)
                else:
                    yield f":{number}", _row(columns, cells)
            except RowError as error:
                yield f":{number}", error
                if columns is None:
                    return  # without columns every other line would be wrong too


def _cells(file: io.BufferedReader) -> Iterator[tuple[int, list[str] | RowError]]:
    # What is no UTF-8 becomes halves of surrogate pairs, so that the rows after it are still read.
    lines = (line.decode("utf-8", "surrogateescape") for _, line in numbered_lines(file))
    reader = csv.reader(lines, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, RowError(f"not csv ({error}); separate by commas and double a quote in quotes")


def _columns(cells: list[str]) -> list[str]:
    twice = [name for name, count in Counter(cells).items() if count > 1]
    if twice:
        raise RowError(f"column {twice[0]!r} occurs twice; keep one")
    if not all(map(is_unicode, cells)):
        raise RowError("the line is not UTF-8; save the file as UTF-8")
    return cells


def _row(columns: list[str], cells: list[str]) -> JsonDict:
    if not cells:
        raise RowError("the line is blank; remove it (blank lines may stand at the end only)")
    if len(cells) != len(columns):
        raise RowError(f"{len(cells)} values for {len(columns)} columns; give each column one")
    if not all(map(is_unicode, cells)):
        raise RowError("the row is not UTF-8; save the file as UTF-8")
    return dict(zip(columns, cells, strict=True))
