# SPDX-License-Identifier: Apache-2.0
"""Pairs as texts and back, and a control that is public."""

from __future__ import annotations

import pytest

from fedpeft.data.pairs import control, pair_as_text, pair_prompter, read_pair
from fedpeft.settings import DataSettings
from fedpeft.testing import tiny_backbone


@pytest.mark.parametrize("pair", [("Why?", "So."), ("Two\nlines", "an\nAnswer of\ntwo"), ("é", "ü: x")])
def test_a_pair_comes_back(pair: tuple[str, str]) -> None:
    assert read_pair(pair_as_text(*pair)) == pair


@pytest.mark.parametrize(
    "text", ["", "Question:", "Question: a", "Question: \nAnswer: b", "Question: a\nAnswer: ", "a\nAnswer: b",
             "well, Question: a\nAnswer: b"],
)  # fmt: skip
def test_what_is_no_pair_is_none(text: str) -> None:
    assert read_pair(text) is None


def test_a_control_names_its_task() -> None:
    assert "colours" in control("colours")
    assert control("") != control("colours")


def test_the_words_around_instructions_are_left_out() -> None:
    tokenizer = tiny_backbone().tokenizer
    data = DataSettings(source="jsonl", prompt="Review: {instruction}\nSentiment:", end_of_turn=False)
    plain = DataSettings(source="jsonl")
    ids = [pair_prompter(tokenizer, one).encode("a", "b").ids.tolist() for one in (data, plain)]
    assert ids[0] == ids[1]
