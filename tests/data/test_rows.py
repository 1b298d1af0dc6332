# SPDX-License-Identifier: Apache-2.0
"""Instructions made of columns; what all sources have in common is tested with each of them."""

import pytest

from fedpeft.data.rows import read_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings

ROW = {"instruction": "Good or bad? A film.", "response": "good", "title": "Ran", "id": "1"}


def _read(row, **settings):
    table = ("f", [(":1", ROW | row)])
    return read_records([table], DataSettings(**settings), unit="record", missing_unit="refuse")


def _problems(row, **settings):
    with pytest.raises(DataError) as caught:
        _read(row, **settings)
    return list(caught.value.problems)


def test_a_prompt_is_made_of_columns():
    [record] = _read({}, prompt="{title}: {instruction} Rate:", remove_prefix="Good or bad? ")
    assert (record.instruction, record.response) == ("Ran: A film. Rate:", "good")


def test_a_prompt_needs_only_the_columns_that_it_names():
    [record] = _read({"instruction": None}, prompt="{title}?")
    assert record.instruction == "Ran?"


@pytest.mark.parametrize("value", [None, 3, " ", ["x"]])
def test_every_column_of_a_prompt_is_text(value):
    [problem] = _problems({"title": value}, prompt="{title}: {instruction}")
    assert problem.startswith("f:1: column 'title' ([data] prompt) is ")


def test_a_column_of_a_prompt_that_is_missing_is_told_beside_the_others():
    problems = _problems({"instruction": ""}, prompt="{titel}: {instruction}")
    assert problems[0].endswith("did you mean 'title'?")
    assert "[data] instruction) is empty" in problems[1]


def test_a_prefix_is_left_out_and_must_be_there():
    assert _read({}, remove_prefix="Good or bad? ")[0].instruction == "A film."
    [problem] = _problems({}, remove_prefix="Good or bad?? ")
    assert problem.endswith("does not begin with data.remove_prefix; remove the row, or leave the key out")
    [problem] = _problems({"instruction": "Good or bad? "}, remove_prefix="Good or bad? ")
    assert problem.endswith("is data.remove_prefix alone; remove it")
