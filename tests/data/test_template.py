# SPDX-License-Identifier: Apache-2.0
"""Prompts made of columns."""

import pytest

from fedpeft.data.template import columns_of, fill, tail_of


@pytest.mark.parametrize(
    ("template", "columns", "filled", "tail"),
    [
        ("Review: {a}\nSentiment:", ("a",), "Review: 1\nSentiment:", "\nSentiment:"),
        ("{a}{b c}{a}", ("a", "b c"), "121", ""),
        ("{{{a}}} {{x}}", ("a",), "{1} {x}", "} {x}"),
        ("{a.b}", ("a.b",), "3", ""),
    ],
)
def test_columns_are_put_in(template, columns, filled, tail):
    assert columns_of(template) == columns
    assert fill(template, {"a": "1", "b c": "2", "a.b": "3"}) == filled
    assert tail_of(template) == tail


def test_what_a_column_holds_is_not_a_template():
    assert fill("{a}!", {"a": "{b}"}) == "{b}!"


@pytest.mark.parametrize("template", ["", "no column", "{", "}", "{}", "{a!r}", "{a:>9}", "{{a}}"])
def test_anything_else_is_refused(template):
    with pytest.raises(ValueError, match=r"."):
        columns_of(template)
