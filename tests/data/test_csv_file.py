# SPDX-License-Identifier: Apache-2.0
"""csv: every value is the text that stands there, every row has every column."""

import pytest

from fedpeft.data.csv_file import csv_rows
from fedpeft.data.rows import RowError


def _read(tmp_path, content):
    path = tmp_path / "site.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(csv_rows(path))


def _good(rows):
    assert not any(isinstance(row, RowError) for _, row in rows)
    return [row for _, row in rows]


def test_nothing_is_taken_for_a_number_or_for_nothing(tmp_path):
    values = ["007", "1.0", "NA", "null", "", "True", "1e5", " x "]
    rows = _good(_read(tmp_path, "a,b\n" + "".join(f"{value},y\n" for value in values)))
    assert [row["a"] for row in rows] == values


def test_quotes_hold_commas_quotes_and_lines(tmp_path):
    rows = _read(tmp_path, 'a,b\r\n"x, ""y""\n\nz",1\r\nlast,2\r\n')
    assert rows == [(":2", {"a": 'x, "y"\n\nz', "b": "1"}), (":5", {"a": "last", "b": "2"})]


def test_byte_order_mark_and_empty_lines_at_the_end(tmp_path):
    assert _good(_read(tmp_path, b"\xef\xbb\xbfa,b\n1,2\n\n  \n")) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("content", ["", "a,b\n"])
def test_a_file_without_rows_has_none(tmp_path, content):
    assert _read(tmp_path, content) == []


def test_a_long_field_is_read(tmp_path):
    assert _good(_read(tmp_path, "a,b\n1," + "x" * 200_000))[0]["b"] == "x" * 200_000


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"1", "1 values for 2 columns"),
        (b"1,2,3", "3 values for 2 columns"),
        (b"", "the line is blank"),
        (b'"1"x,2', "not csv ("),
        (b"\xff,2", "the row is not UTF-8"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_read(tmp_path, line, says):
    (_, first), (where, error), (last_where, last) = _read(tmp_path, b"a,b\n1,2\n" + line + b"\n3,4\n")
    assert (where, last_where) == (":3", ":4")
    assert says in str(error)
    assert (first, last) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})


def test_a_quote_that_never_ends_is_told(tmp_path):
    [(where, error)] = _read(tmp_path, 'a,b\n1,"2\n3,4\n')
    assert where == ":2"
    assert "not csv (" in str(error)


def test_a_column_that_stands_twice_is_refused(tmp_path):
    [(where, error)] = _read(tmp_path, "id,owner,owner\n1,x,y\n2,x,y\n")
    assert (where, str(error)) == (":1", "column 'owner' occurs twice; keep one")


def test_a_first_line_that_is_not_utf8_is_told_once(tmp_path):
    [(where, error)] = _read(tmp_path, b"\xff,b\n1,2\n2,3\n")
    assert where == ":1"
    assert "not UTF-8" in str(error)
