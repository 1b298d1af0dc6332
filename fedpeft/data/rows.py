# SPDX-License-Identifier: Apache-2.0
"""From the rows of any source to records, by the columns that the configuration names.

Strict, because what is wrong here is wrong for every round: nothing is repaired, guessed or passed over, and
all problems of a site are told together. Problems name files, rows and columns; the only content they show is
an id that occurs twice, and the value of a partition's public column.
"""

from __future__ import annotations

import datetime
import decimal
import difflib
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fedpeft.data.chat import ChatError, split_chat
from fedpeft.data.records import Record, Turn, is_unicode
from fedpeft.data.template import columns_of, fill
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.types import JsonDict

MAX_PROBLEMS = 20
"""Problems of one file that are told one by one."""

RECORD_UNIT = "record"
"""The unit that is a single instruction-response pair rather than the values of a column."""

# Begins the unit of a record without an owner. No column value may begin with it, so that none can collide.
_OWN_UNIT = "\0"


class RowError(Exception):
    """What is wrong with a row."""


Rows = Iterable[tuple[str, JsonDict | RowError]]
"""The rows of one file, each with where it stands in the file (``":3"``), or what is wrong with it."""


def read_records(
    tables: Iterable[tuple[str, Rows]], settings: DataSettings, *, unit: str, missing_unit: str
) -> list[Record]:
    """Read every record of a site, whose tables count as one: no id may occur twice in all of them.

    Without an id column, a record is named by a hash of its content (and, among equal rows, by a count): a
    row number would change with every row added above, and with it the split.

    Args:
        tables: the name of each for messages, and its rows.
        settings: names the columns.
        unit: ``"record"``, or the column that holds the owner: a string or a whole number.
        missing_unit: ``"refuse"``, or ``"record"``: a record without an owner is a unit of its own, whose
            name no column value can equal.

    Raises:
        DataError: a table cannot be read or has a row that is not what the configuration says; it tells
            the first twenty problems of each and the number of the others.
    """
    reader = _Reader(settings, unit, missing_unit)
    problems: list[str] = []
    for name, rows in tables:
        problems += _problems_of(reader, name, rows)
    if problems:
        raise DataError(problems)
    return reader.records


def _problems_of(reader: _Reader, name: str, rows: Rows) -> list[str]:
    """Read one table; what is wrong with it."""
    reader.begin()
    try:
        for where, row in rows:
            reader.read(f"{name}{where}", row)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return [f"{name}: cannot be read ({reason}); give a file that can"]
    problems = reader.problems[:MAX_PROBLEMS]
    if len(reader.problems) > MAX_PROBLEMS:
        problems.append(f"{name}: and {len(reader.problems) - MAX_PROBLEMS} more")
    if not problems and reader.lacks_owner_column:
        # Only with missing_unit = "record"; a misspelt column must not quietly become record units.
        problems.append(f"{name}: column {reader.unit!r} ([privacy] unit) is in no row; name one that is")
    return problems


class _Reader:
    """Makes records of rows, and collects what is wrong with them."""

    def __init__(self, settings: DataSettings, unit: str, missing_unit: str) -> None:
        self.records: list[Record] = []
        self.problems: list[str] = []
        self.unit = unit
        self._num_rows = 0
        self._has_owner_column = False
        self._settings = settings
        self._may_miss_unit = missing_unit == "record"
        self._columns = columns_of(settings.prompt) if settings.prompt else ()
        partition = settings.partition
        self._part = partition.column if partition.kind == "column" else None
        self._places: dict[str, str] = {}
        self._contents: Counter[str] = Counter()

    @property
    def lacks_owner_column(self) -> bool:
        """Whether the table has rows, units are values of a column, and no row has it."""
        return self.unit != RECORD_UNIT and self._num_rows > 0 and not self._has_owner_column

    def begin(self) -> None:
        """Begin another table of the same site."""
        self.problems, self._num_rows, self._has_owner_column = [], 0, False

    def read(self, place: str, row: JsonDict | RowError) -> None:
        """Add the record of a row, or all that is wrong with the row."""
        if isinstance(row, RowError):
            self.problems.append(f"{place}: {row}")
            return
        self._num_rows += 1
        problems: list[str] = []

        def attempt(part: Callable[[JsonDict], str], row: JsonDict = row) -> str:
            try:
                return part(row)
            except RowError as error:
                problems.append(f"{place}: {error}")
                return ""

        name = attempt(partial(self._name, place))
        unit = attempt(partial(self._owner, name))
        if self._settings.messages:
            instruction, response, before = self._chat(self._settings.messages, row, place, problems)
        else:
            before = ()
            instruction = self._instruction(attempt)
            response = attempt(partial(_text, self._settings.response, "[data] response"))
        task, part = self._settings.task, self._part
        record = Record(
            id=name,
            unit=unit,
            instruction=instruction,
            response=response,
            task=attempt(partial(_text, task, "[data] task")) if task else "",
            before=before,
            part=attempt(partial(_value, part, "[data.partition] column")) if part else "",
        )
        if problems:
            self.problems += problems
        else:
            self.records.append(record)

    def _name(self, place: str, row: JsonDict) -> str:
        column = self._settings.id
        name = _value(column, "[data] id", row) if column else ""
        if column and not name and not (self.unit == RECORD_UNIT and self._may_miss_unit):
            raise RowError(f"column {column!r} ([data] id) is empty; give the record an id")
        name = name or self._content_name(row)
        first = self._places.setdefault(name, place)
        if first != place:
            raise RowError(f"id {name!r} is that of {first} already; give each record its own")
        return name

    def _content_name(self, row: JsonDict) -> str:
        content = json.dumps(row, sort_keys=True, default=_plain)
        digest = "sha256:" + hashlib.sha256(content.encode()).hexdigest()
        self._contents[digest] += 1
        count = self._contents[digest]
        return digest if count == 1 else f"{digest}#{count}"

    def _owner(self, name: str, row: JsonDict) -> str:
        if self.unit == RECORD_UNIT:
            return name
        self._has_owner_column |= self.unit in row
        if self._may_miss_unit and self.unit not in row:
            return _OWN_UNIT + name
        owner = _value(self.unit, "[privacy] unit", row)
        if owner:
            return owner
        if self._may_miss_unit:
            return _OWN_UNIT + name
        raise RowError(
            f"column {self.unit!r} ([privacy] unit) is empty; fill it, or set missing_unit = 'record'"
        )

    def _instruction(self, attempt: Callable[[Callable[[JsonDict], str]], str]) -> str:
        settings = self._settings
        if settings.prompt is None:
            return attempt(self._instruction_column)
        values = {
            column: attempt(
                self._instruction_column
                if column == settings.instruction
                else partial(_text, column, "[data] prompt")
            )
            for column in self._columns
        }
        return fill(settings.prompt, values)

    def _instruction_column(self, row: JsonDict) -> str:
        column, prefix = self._settings.instruction, self._settings.remove_prefix
        text = _text(column, "[data] instruction", row)
        if not text.startswith(prefix):
            rule = "does not begin with data.remove_prefix; remove the row, or leave the key out"
            raise RowError(f"column {column!r} ([data] instruction) {rule}")
        text = text[len(prefix) :]
        if not text.strip():
            raise RowError(f"column {column!r} ([data] instruction) is data.remove_prefix alone; remove it")
        return text

    def _chat(
        self, column: str, row: JsonDict, place: str, problems: list[str]
    ) -> tuple[str, str, tuple[Turn, ...]]:
        try:
            return split_chat(_column(row, column, "[data] messages"))
        except (RowError, ChatError) as error:
            words = "" if isinstance(error, RowError) else f"column {column!r} ([data] messages) "
            problems.append(f"{place}: {words}{error}")
            return "", "", ()


def _plain(value: object) -> str:
    """A value that JSON has no form for, as text that is the same on every machine."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return f"{type(value).__name__} {value}"
    raise RowError(f"a value {kind_of(value)} cannot name a record; name an id column in [data] id")


def _column(row: JsonDict, column: str, key: str) -> Any:
    if column in row:
        return row[column]
    near = difflib.get_close_matches(column, row, n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(map(repr, row)) or 'none'}"
    raise RowError(f"column {column!r} ({key}) is missing; {mend}")


def _text(column: str, key: str, row: JsonDict) -> str:
    value = _column(row, column, key)
    if not isinstance(value, str):
        raise RowError(f"column {column!r} ({key}) is {kind_of(value)}; it must be a string")
    if not value.strip():
        raise RowError(f"column {column!r} ({key}) is empty; fill it or remove the row")
    if not is_unicode(value):
        raise RowError(f"column {column!r} ({key}) has half of a surrogate pair; write whole characters")
    return value


def _value(column: str, key: str, row: JsonDict) -> str:
    """Value of a column that names something, as a string; empty when it is null or blank."""
    value = _column(row, column, key)
    if value is None:
        return ""
    if isinstance(value, list | dict):
        raise RowError(f"column {column!r} ({key}) holds several values; a record has one")
    # 1.0 and 1 would be two names of one owner, which halves its protection; so would "a" and " a".
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise RowError(f"column {column!r} ({key}) is {kind_of(value)}; write a string or a whole number")
    name = unicodedata.normalize("NFC", str(value).strip())  # two spellings of one owner halve its protection
    if name.startswith(_OWN_UNIT) or not is_unicode(name):
        raise RowError(f"column {column!r} ({key}) begins with a NUL or is not Unicode; write plain text")
    return name


def kind_of(value: object) -> str:
    """What a value is, in words."""
    kinds = {
        str: "a string",
        bool: "a boolean",
        list: "a list",
        dict: "an object",
        type(None): "null",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), f"of type {type(value).__name__}")
