# SPDX-License-Identifier: Apache-2.0
"""JSON lines: what is read, what is refused, and what the refusals say."""

import json

import pytest

from fedpeft.data.jsonl import jsonl_rows
from fedpeft.data.records import Record
from fedpeft.data.rows import read_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings


def _settings(**columns):
    return DataSettings(source="jsonl", **columns)


def _row(**changes):
    return {"instruction": "Why?", "response": "Because.", "id": "r1", "patient": "p1"} | changes


def _write(tmp_path, *lines):
    path = tmp_path / "site.jsonl"
    parts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"".join(part + b"\n" for part in parts))
    return path


def _read(path, settings=None, unit="record", missing_unit="refuse"):
    table = (str(path), jsonl_rows(path))
    return read_records([table], settings or _settings(id="id"), unit=unit, missing_unit=missing_unit)


def _problems(path, *args, **kwargs):
    with pytest.raises(DataError) as caught:
        _read(path, *args, **kwargs)
    return [problem.removeprefix(str(path)) for problem in caught.value.problems]


def test_columns_are_mapped(tmp_path):
    path = _write(tmp_path, {"q": "Why?", "a": "Because.", "kind": "cause", "key": 7, "owner": 12})
    settings = _settings(instruction="q", response="a", task="kind", id="key")
    assert _read(path, settings, unit="owner") == [Record("7", "12", "Why?", "Because.", "cause")]


def test_record_is_its_own_unit(tmp_path):
    [record] = _read(_write(tmp_path, _row()))
    assert (record.id, record.unit, record.task) == ("r1", "r1", "")


def test_column_values_are_units(tmp_path):
    path = _write(tmp_path, _row(), _row(id="r2"), _row(id="r3", patient="p2"))
    assert [record.unit for record in _read(path, unit="patient")] == ["p1", "p1", "p2"]


def test_number_and_string_of_one_owner_are_one_unit(tmp_path):
    path = _write(tmp_path, _row(patient=1), _row(id="r2", patient="1"), _row(id="r3", patient=" 1 "))
    assert {record.unit for record in _read(path, unit="patient")} == {"1"}


def test_text_is_kept_as_it_is(tmp_path):
    path = _write(tmp_path, _row(instruction="  Où ?\u2028\n", response="là-bas\t"))
    [record] = _read(path)
    assert (record.instruction, record.response) == ("  Où ?\u2028\n", "là-bas\t")


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "site.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(_row()).encode() + b"\r\n")
    assert len(_read(path)) == 1


def test_last_line_needs_no_line_end(tmp_path):
    path = tmp_path / "site.jsonl"
    path.write_text(json.dumps(_row()))
    assert len(_read(path)) == 1


def test_empty_file_has_no_records(tmp_path):
    assert _read(_write(tmp_path)) == []


def test_blank_lines_may_end_the_file(tmp_path):
    assert len(_read(_write(tmp_path, _row(), b"", b"  "))) == 1


def test_blank_line_elsewhere_is_named(tmp_path):
    [problem] = _problems(_write(tmp_path, _row(), b"", _row(id="r2")))
    assert problem.startswith(":2: the line is blank")


class TestIdsFromContent:
    """Without an id column a record is named by what it says."""

    def test_line_added_above_renames_nothing(self, tmp_path):
        rows = [{"instruction": f"q{n}", "response": "a"} for n in range(5)]
        before = {record.id for record in _read(_write(tmp_path, *rows), _settings())}
        new = {"instruction": "new", "response": "a"}
        after = {record.id for record in _read(_write(tmp_path, new, *rows), _settings())}
        assert before < after
        assert len(after) == 6

    def test_equal_lines_are_records_of_their_own(self, tmp_path):
        row = {"instruction": "q", "response": "a"}
        one = {record.id for record in _read(_write(tmp_path, row), _settings())}
        two = {record.id for record in _read(_write(tmp_path, row, row), _settings())}
        assert len(two) == 2
        assert one < two

    def test_order_of_columns_does_not_matter(self, tmp_path):
        [first] = _read(_write(tmp_path, b'{"instruction": "q", "response": "a"}'), _settings())
        [second] = _read(_write(tmp_path, b'{"response": "a", "instruction": "q"}'), _settings())
        assert first == second


class TestMissingUnit:
    """A record without an owner."""

    @pytest.mark.parametrize("owner", [None, "", "   "])
    def test_is_refused(self, tmp_path, owner):
        [problem] = _problems(_write(tmp_path, _row(patient=owner)), unit="patient")
        assert problem.startswith(":1: column 'patient' ([privacy] unit) is empty")
        assert "missing_unit" in problem

    def test_without_the_column_is_refused(self, tmp_path):
        row = _row()
        del row["patient"]
        [problem] = _problems(_write(tmp_path, row), unit="patient")
        assert problem.startswith(":1: column 'patient' ([privacy] unit) is missing")

    def test_becomes_a_unit_of_its_own(self, tmp_path):
        rows = [_row(), _row(id="r2", patient=None), _row(id="r3", patient=None), _row(id="r4")]
        absent = _row(id="r5")
        del absent["patient"]
        records = _read(_write(tmp_path, *rows, absent), unit="patient", missing_unit="record")
        assert len({record.unit for record in records}) == 4
        assert records[0].unit == records[3].unit == "p1"

    def test_own_unit_never_equals_a_column_value(self, tmp_path):
        alone = _read(
            _write(tmp_path, _row(), _row(id="p1", patient="")), unit="patient", missing_unit="record"
        )
        assert alone[0].unit != alone[1].unit
        forged = _row(id="r2", patient=alone[1].unit)
        [problem] = _problems(_write(tmp_path, forged), unit="patient", missing_unit="record")
        assert "begins with a NUL" in problem

    def test_misspelt_column_does_not_become_record_units(self, tmp_path):
        path = _write(tmp_path, _row(), _row(id="r2"))
        [problem] = _problems(path, unit="pateint", missing_unit="record")
        assert "column 'pateint' ([privacy] unit) is in no row" in problem

    def test_record_without_id_is_refused_unless_allowed(self, tmp_path):
        path = _write(tmp_path, _row(id=None))
        assert "[data] id) is empty" in _problems(path)[0]
        assert "[data] id) is empty" in _problems(path, unit="patient", missing_unit="record")[0]
        [record] = _read(path, missing_unit="record")
        assert record.unit == record.id != ""


@pytest.mark.parametrize("owner", [["p1", "p2"], {"a": "p1"}])
def test_several_owners_are_refused(tmp_path, owner):
    for missing_unit in ("refuse", "record"):
        path = _write(tmp_path, _row(patient=owner))
        [problem] = _problems(path, unit="patient", missing_unit=missing_unit)
        assert "holds several values" in problem


@pytest.mark.parametrize("owner", [1.0, True])
def test_owner_that_has_two_spellings_is_refused(tmp_path, owner):
    [problem] = _problems(_write(tmp_path, _row(patient=owner)), unit="patient")
    assert "write a string or a whole number" in problem


def test_column_given_twice_is_refused(tmp_path):
    line = b'{"instruction": "q", "response": "a", "id": "1", "patient": "x", "patient": "y"}'
    [problem] = _problems(_write(tmp_path, line), unit="patient")
    assert problem == ":1: column 'patient' occurs twice; keep one"


def test_missing_column_names_the_near_one(tmp_path):
    [problem] = _problems(_write(tmp_path, _row()), _settings(response="responce"))
    assert problem == ":1: column 'responce' ([data] response) is missing; did you mean 'response'?"


def test_missing_column_without_a_near_one_lists_the_columns(tmp_path):
    [problem] = _problems(_write(tmp_path, {"x": 1, "instruction": "q"}))[1:]
    assert problem.endswith("the columns are 'x', 'instruction'")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, "a number"), (None, "null"), (["a"], "a list"), ({}, "an object"), (True, "a boolean")],
)
def test_text_of_another_type_is_refused(tmp_path, value, kind):
    [problem] = _problems(_write(tmp_path, _row(instruction=value)))
    assert problem == f":1: column 'instruction' ([data] instruction) is {kind}; it must be a string"


@pytest.mark.parametrize("field", ["instruction", "response"])
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_text_is_refused(tmp_path, field, text):
    [problem] = _problems(_write(tmp_path, _row(**{field: text})))
    assert problem.startswith(f":1: column '{field}' ([data] {field}) is empty")


def test_text_that_no_tokenizer_takes_is_refused(tmp_path):
    line = rb'{"instruction": "q", "response": "\ud800", "id": "1"}'
    [problem] = _problems(_write(tmp_path, line))
    assert "half of a surrogate pair" in problem


def test_task_column_must_be_filled(tmp_path):
    [problem] = _problems(_write(tmp_path, _row(task=None)), _settings(task="task"))
    assert "column 'task' ([data] task) is null" in problem


def test_duplicate_id_names_both_lines(tmp_path):
    path = _write(tmp_path, _row(), _row(id="r2"), _row())
    problems = _problems(path)
    assert problems == [f":3: id 'r1' is that of {path}:1 already; give each record its own"]


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"[" * 100_000, b"{} {}"])
def test_unreadable_line_is_named(tmp_path, line):
    [problem] = _problems(_write(tmp_path, _row(), line))
    assert problem.startswith(":2: not JSON (")


@pytest.mark.parametrize("line", [b"[1]", b"3", b"null"])
def test_line_that_is_no_object_is_named(tmp_path, line):
    [problem] = _problems(_write(tmp_path, line))
    assert problem.endswith("instead of a JSON object; write one JSON object a line")


def test_other_encoding_is_named_with_line_and_byte(tmp_path):
    latin = '{"instruction": "Où", "response": "a"}'.encode("latin-1")
    [problem] = _problems(_write(tmp_path, _row(), latin))
    assert problem == ":2: byte 19 of the line is not UTF-8; save the file as UTF-8"


def test_all_problems_of_a_line_are_told(tmp_path):
    problems = _problems(_write(tmp_path, _row(instruction="", response=5, patient=[])), unit="patient")
    assert len(problems) == 3


def test_twenty_problems_are_told_and_the_rest_counted(tmp_path):
    path = _write(tmp_path, *[_row(id=str(number), response="") for number in range(33)])
    problems = _problems(path)
    assert len(problems) == 21
    assert problems[19].startswith(":20: ")
    assert problems[20] == ": and 13 more"


def test_exactly_twenty_problems_need_no_count(tmp_path):
    path = _write(tmp_path, *[_row(id=str(number), response="") for number in range(20)])
    assert len(_problems(path)) == 20


def test_problems_show_no_content(tmp_path):
    path = _write(tmp_path, _row(instruction=["secret"], response="", patient=["secret"]), b'"secret')
    assert "secret" not in "".join(_problems(path, unit="patient"))


def test_absent_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        _read(tmp_path / "none.jsonl")
