# SPDX-License-Identifier: Apache-2.0
"""Judging by unit against public distractors: one unit's verdict never depends on another."""

from __future__ import annotations

import torch

from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Record
from fedpeft.evaluation.private import answers_by_task, judge_units
from fedpeft.evaluation.selection import ask_against
from fedpeft.testing import tiny_backbone

PUBLIC = {"colour": ["red", "green", "blue", "yellow"], "size": ["small", "large"]}


def records(unit: str, count: int, task: str = "colour") -> list[Record]:
    return [
        Record(f"{unit}{i}", unit, f"Say thing {unit} {i}.", ("red", "blue", "green", "yellow")[i % 4], task)
        for i in range(count)
    ]


def judged(units: dict[str, list[Record]]) -> dict[str, list[bool]]:
    backbone = tiny_backbone()
    prompter = Prompter(backbone.tokenizer, max_length=64, system_prompt=False)
    return judge_units(backbone.model, prompter, units, PUBLIC, device=torch.device("cpu"))


def test_every_record_gets_a_verdict() -> None:
    verdicts = judged({"a": records("a", 30), "b": records("b", 1), "c": []})
    assert {unit: len(found) for unit, found in verdicts.items()} == {"a": 30, "b": 1, "c": 0}
    assert 0 < sum(verdicts["a"]) < 30


def test_another_unit_changes_no_verdict() -> None:
    alone = judged({"a": records("a", 20)})
    together = judged({"z": records("z", 9), "a": records("a", 20)})
    assert together["a"] == alone["a"]


def test_a_task_without_enough_public_responses_is_never_right() -> None:
    assert not any(judged({"a": records("a", 8, "size"), "b": records("b", 8, "unknown")})["a"])


def test_distractors_are_public_ones() -> None:
    backbone = tiny_backbone()
    prompter = Prompter(backbone.tokenizer, max_length=64, system_prompt=False)
    public = {tuple(prompter.response_ids(text)) for text in PUBLIC["colour"]}
    for question in ask_against(records("a", 10), prompter, PUBLIC):
        assert len(question.responses) == 4
        assert set(question.responses[1:]) <= public


def test_public_answers_are_kept_by_task() -> None:
    found = answers_by_task([*records("a", 2), *records("b", 1, "size")])
    assert found == {"colour": ["red", "blue"], "size": ["red"]}
    assert answers_by_task(None) == {}
