# SPDX-License-Identifier: Apache-2.0
"""Records from a JSON-lines file: UTF-8, one object a line, columns named by the configuration.

Strict, because what is wrong here is wrong for every round: nothing is repaired, guessed or passed over, and
all problems of a file are told together. Problems name lines and columns; the only content they show is an id
that occurs twice.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fedpeft.data.records import Record, is_unicode
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.types import JsonDict

MAX_PROBLEMS = 20
"""Problems of one file that are told one by one."""

RECORD_UNIT = "record"
"""The unit that is a single instruction-response pair rather than the values of a column."""

# Begins the unit of a record without an owner. No column value may begin with it, so that none can collide.
_OWN_UNIT = "\0"


class _LineError(Exception):
    """What is wrong with a line."""


def read_jsonl(path: Path, settings: DataSettings, *, unit: str, missing_unit: str) -> list[Record]:
    """Read every record of ``path``.

    Without an id column, a record is named by a hash of its content (and, among equal lines, by a count): a
    line number would change with every line added above, and with it the split.

    Args:
        path: the file; an empty one has no records.
        settings: names the columns.
        unit: ``"record"``, or the column that holds the owner: a string or a whole number.
        missing_unit: ``"refuse"``, or ``"record"``: a record without an owner is a unit of its own, whose
            name no column value can equal.

    Raises:
        DataError: the file cannot be read or has a line that is not what the configuration says; it tells
            the first twenty problems and the number of the others.
    """
    reader = _Reader(settings, unit, missing_unit)
    try:
        with path.open("rb") as file:
            for number, line in _lines(file):
                reader.read(number, line)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file that can") from error
    problems = [f"{path}:{problem}" for problem in reader.problems[:MAX_PROBLEMS]]
    if len(reader.problems) > MAX_PROBLEMS:
        problems.append(f"{path}: and {len(reader.problems) - MAX_PROBLEMS} more")
    if reader.records and not problems and unit != RECORD_UNIT and not reader.has_owner_column:
        # Only with missing_unit = "record"; a misspelt column must not quietly become record units.
        problems.append(f"{path}: column {unit!r} ([privacy] unit) is in no line; name one that is")
    if problems:
        raise DataError(problems)
    return reader.records


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Number the lines from 1; blank ones are given only when another line follows them."""
    blank: list[tuple[int, bytes]] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            blank.append((number, line))
            continue
        yield from blank
        blank.clear()
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


class _Reader:
    """Makes records of lines, and collects what is wrong with them."""

    def __init__(self, settings: DataSettings, unit: str, missing_unit: str) -> None:
        self.records: list[Record] = []
        self.problems: list[str] = []
        self.has_owner_column = False
        self._settings = settings
        self._unit = unit
        self._may_miss_unit = missing_unit == "record"
        self._first_lines: dict[str, int] = {}
        self._contents: Counter[str] = Counter()

    def read(self, number: int, line: bytes) -> None:
        """Add the record of a line, or all that is wrong with the line."""
        problems: list[str] = []

        def attempt(part: Callable[[JsonDict], str], row: JsonDict) -> str:
            try:
                return part(row)
            except _LineError as error:
                problems.append(f"{number}: {error}")
                return ""

        try:
            row = _parse(line)
        except _LineError as error:
            self.problems.append(f"{number}: {error}")
            return
        name = attempt(partial(self._name, number), row)
        record = Record(
            id=name,
            unit=attempt(partial(self._owner, name), row),
            instruction=attempt(partial(_text, self._settings.instruction, "[data] instruction"), row),
            response=attempt(partial(_text, self._settings.response, "[data] response"), row),
            task=attempt(partial(_text, self._settings.task, "[data] task"), row)
            if self._settings.task
            else "",
        )
        if problems:
            self.problems += problems
        else:
            self.records.append(record)

    def _name(self, number: int, row: JsonDict) -> str:
        column = self._settings.id
        name = _value(column, "[data] id", row) if column else ""
        if column and not name and not (self._unit == RECORD_UNIT and self._may_miss_unit):
            raise _LineError(f"column {column!r} ([data] id) is empty; give the record an id")
        name = name or self._content_name(row)
        first = self._first_lines.setdefault(name, number)
        if first != number:
            raise _LineError(f"id {name!r} is that of line {first} already; give each record its own")
        return name

    def _content_name(self, row: JsonDict) -> str:
        digest = "sha256:" + hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
        self._contents[digest] += 1
        count = self._contents[digest]
        return digest if count == 1 else f"{digest}#{count}"

    def _owner(self, name: str, row: JsonDict) -> str:
        if self._unit == RECORD_UNIT:
            return name
        self.has_owner_column |= self._unit in row
        if self._may_miss_unit and self._unit not in row:
            return _OWN_UNIT + name
        owner = _value(self._unit, "[privacy] unit", row)
        if owner:
            return owner
        if self._may_miss_unit:
            return _OWN_UNIT + name
        raise _LineError(
            f"column {self._unit!r} ([privacy] unit) is empty; fill it, or set missing_unit = 'record'"
        )


def _parse(line: bytes) -> JsonDict:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _LineError(f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8") from None
    if not text.strip():
        raise _LineError("the line is blank; remove it (blank lines may stand at the end only)")
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _LineError(f"not JSON ({error}); write one JSON object a line") from None
    if not isinstance(row, dict):
        raise _LineError(f"{_kind(row)} instead of a JSON object; write one JSON object a line")
    return row


def _object(pairs: Sequence[tuple[str, Any]]) -> JsonDict:
    row = dict(pairs)
    if len(row) < len(pairs):  # json would keep the last, and with it perhaps another owner
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _LineError(f"column {twice!r} occurs twice; keep one")
    return row


def _column(row: JsonDict, column: str, key: str) -> Any:
    if column in row:
        return row[column]
    near = difflib.get_close_matches(column, row, n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(map(repr, row)) or 'none'}"
    raise _LineError(f"column {column!r} ({key}) is missing; {mend}")


def _text(column: str, key: str, row: JsonDict) -> str:
    value = _column(row, column, key)
    if not isinstance(value, str):
        raise _LineError(f"column {column!r} ({key}) is {_kind(value)}; it must be a string")
    if not value.strip():
        raise _LineError(f"column {column!r} ({key}) is empty; fill it or remove the line")
    if not is_unicode(value):
        raise _LineError(f"column {column!r} ({key}) has half of a surrogate pair; write whole characters")
    return value


def _value(column: str, key: str, row: JsonDict) -> str:
    """Value of a column that names something, as a string; empty when it is null or blank."""
    value = _column(row, column, key)
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise _LineError(f"column {column!r} ({key}) holds several values; a record has one")
    # 1.0 and 1 would be two names of one owner, which halves its protection; so would "a" and " a".
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _LineError(f"column {column!r} ({key}) is {_kind(value)}; write a string or a whole number")
    name = unicodedata.normalize("NFC", str(value).strip())  # two spellings of one owner halve its protection
    if name.startswith(_OWN_UNIT) or not is_unicode(name):
        raise _LineError(f"column {column!r} ({key}) begins with a NUL or is not Unicode; write plain text")
    return name


def _kind(value: object) -> str:
    kinds = {str: "a string", bool: "a boolean", list: "a list", dict: "an object", type(None): "null"}
    return kinds.get(type(value), "a number")
