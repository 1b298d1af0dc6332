# SPDX-License-Identifier: Apache-2.0
"""Right and wrong by unit, against distractors that are public: what a private evaluation counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from fedpeft.data.records import Record
from fedpeft.evaluation.likelihood import answer
from fedpeft.evaluation.scores import is_first
from fedpeft.evaluation.selection import Encoder, ask_against


def judge_units(
    model: nn.Module,
    prompter: Encoder,
    units: Mapping[str, Sequence[Record]],
    distractors: Mapping[str, Sequence[str]],
    labels: Sequence[str] = (),
    *,
    device: torch.device,
    max_tokens: int = 1024,
) -> dict[str, list[bool]]:
    """For each unit, which of its records are ranked first among public distractors.

    Args:
        model: in evaluation mode, with the adapter to be judged.
        prompter: of the model's tokenizer.
        units: held-out records by unit.
        distractors: public responses by task. A record of a task with fewer than three that differ from its
            own response is never right.
        labels: where given, the public list of all responses, which are the distractors instead.
        device: where the model is.
        max_tokens: padded tokens of one forward pass.
    """
    judged: dict[str, list[bool]] = {}
    for unit, records in units.items():  # unit by unit, so that none shares a padded product with another
        questions = ask_against(records, prompter, distractors, labels)
        answers = answer(model, questions, device=device, max_tokens=max_tokens)
        judged[unit] = [is_first(q, found) for q, found in zip(questions, answers, strict=True)]
    return judged


def answers_by_task(public: Sequence[Record] | None) -> dict[str, list[str]]:
    """Responses of records that are declared public, which private answers may be ranked against."""
    answers: dict[str, list[str]] = {}
    for record in public or ():
        answers.setdefault(record.task, []).append(record.response)
    return answers
