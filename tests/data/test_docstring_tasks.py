# SPDX-License-Identifier: Apache-2.0
"""One object, one task, one record."""

from collections import Counter

import pytest

from fedpeft.data.docstring_tasks import count_tokens, make_record
from fedpeft.data.source_code import CodeObject

TEXT = "Gives back the total of all the numbers."


def _objects(number=400, **changes):
    fields = {"signature": "(values, *, start=0)", "text": TEXT} | changes
    return [CodeObject(module="pkg.mod", name=f"Box.item{n}", **fields) for n in range(number)]


def _records(**changes):
    return [record for record in map(make_record, _objects(**changes)) if record]


def _one(task, **changes):
    return next(record for record in _records(**changes) if record.task == task)


def test_tasks_are_about_equally_frequent():
    counts = Counter(record.task for record in _records())
    assert set(counts) == {"describe", "name", "signature", "module"}
    assert min(counts.values()) > 70  # of 100 expected


def test_task_depends_on_the_qualified_name_alone():
    tasks = {record.id: record.task for record in _records()}
    others = {record.id: record.task for record in _records(text=TEXT + " More.", signature="(x)")}
    assert tasks == others


def test_unit_is_the_record():
    assert all(record.id == record.unit for record in _records())
    assert len({record.unit for record in _records()}) == 400


def test_describe():
    record = _one("describe")
    assert record.instruction == f"What does `{record.id}(values, *, start=0)` do?"
    assert record.response == TEXT


def test_describe_does_not_show_an_endless_signature():
    record = _one("describe", signature="(" + ", ".join(["x"] * 200) + ")")
    assert record.instruction == f"What does `{record.id}(...)` do?"


def test_name():
    record = _one("name")
    assert record.response == record.id.removeprefix("pkg.mod.")
    assert "`pkg.mod`" in record.instruction
    assert TEXT in record.instruction


def test_name_is_not_asked_of_a_text_that_holds_it():
    kept = {record.id for record in _records()}
    items = _objects()
    shown = [make_record(CodeObject(i.module, i.name, i.signature, f"See {i.name.upper()}.")) for i in items]
    lost = kept - {record.id for record in shown if record}
    assert lost == {record.id for record in _records() if record.task == "name"}


def test_signature():
    record = _one("signature")
    assert record.response == "(values, *, start=0)"
    assert f"`{record.id}`" in record.instruction
    assert TEXT in record.instruction


@pytest.mark.parametrize("signature", ["()", "() -> int", "(" + ", ".join(["x"] * 48) + ")"])
def test_signature_is_not_asked_when_empty_or_long(signature):
    tasks = {record.task for record in _records(signature=signature)}
    assert tasks == {"describe", "name", "module"}


def test_longest_signature_is_asked():
    signature = "(" + ", ".join(["x"] * 47) + ")"
    assert count_tokens(signature) == 95
    assert _one("signature", signature=signature)


def test_module():
    record = _one("module")
    assert record.response == "pkg.mod"
    assert record.id.removeprefix("pkg.mod.") in record.instruction
    assert TEXT in record.instruction
    assert "pkg" not in record.instruction


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("(a, b=12)", 8), ("max_length: int | None", 7), ("'é' -> x", 6)]
)
def test_token_rule(text, tokens):
    assert count_tokens(text) == tokens
