# SPDX-License-Identifier: Apache-2.0
"""Which records are evaluated, and which wrong answers each is ranked against.

Both follow from hashes of the records' ids, so that the same records are asked the same questions before and
after training, on any machine and in whatever order they were read.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedpeft.data.records import Record

NUM_DISTRACTORS = 3
_MAX_DRAWS = 64


class Encoder(Protocol):
    """What is used of :class:`fedpeft.data.prompts.Prompter`."""

    max_length: int

    def prompt_ids(self, instruction: str) -> list[int]:
        """Tokens before the response; at least one, fewer than ``max_length``."""
        ...

    def response_ids(self, response: str) -> list[int]:
        """Tokens of the response; at least one."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its candidate responses, as tokens cut to the maximal length; the first one is true.

    ``responses`` has one entry where the record is not ranked, else ``1 + NUM_DISTRACTORS``.
    """

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]


def choose_records(records: Sequence[Record], limit: int) -> list[Record]:
    """Choose at most ``limit`` records by the hash of their id, in turn from every task.

    Returns:
        The chosen records in the order they had; all of them when there are not more than ``limit``.
    """
    if len(records) <= limit:
        return list(records)
    by_task: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(records)), key=lambda index: _hash("choice", records[index].id)):
        by_task[records[index].task].append(index)
    # (turn, place in the turn): the first of every task, then the second of every task, ...
    in_turn = sorted(
        (turn, place, index)
        for place, indices in enumerate(by_task.values())
        for turn, index in enumerate(indices)
    )
    return [records[index] for index in sorted(index for _, _, index in in_turn[:limit])]


def ask(records: Sequence[Record], encoder: Encoder) -> list[Question]:
    """Make the question of each record, with distractors from the other records of its task.

    A record is ranked when its task has at least four records and three responses among them differ, as the
    model sees them, from its own and from each other.
    """
    texts_of: dict[str, list[str]] = defaultdict(list)
    num_records: dict[str, int] = defaultdict(int)
    for record in records:
        texts_of[record.task].append(record.response)
        num_records[record.task] += 1
    # Sorted and without repetitions, so that the order of the records does not matter.
    texts_of = defaultdict(list, {task: sorted(set(texts)) for task, texts in texts_of.items()})
    encoded: dict[str, list[int]] = {}

    def response(text: str) -> list[int]:
        if text not in encoded:
            encoded[text] = encoder.response_ids(text)
        return encoded[text]

    questions = []
    for record in records:
        prompt = encoder.prompt_ids(record.instruction)
        room = encoder.max_length - len(prompt)
        responses = [tuple(response(record.response)[:room])]
        if num_records[record.task] > NUM_DISTRACTORS:
            texts = texts_of[record.task]
            for index in _draws(record, len(texts)):
                candidate = tuple(response(texts[index])[:room])
                if candidate not in responses:
                    responses.append(candidate)
                if len(responses) > NUM_DISTRACTORS:
                    break
        is_ranked = len(responses) > NUM_DISTRACTORS
        questions.append(Question(tuple(prompt), tuple(responses if is_ranked else responses[:1])))
    return questions


def _draws(record: Record, count: int) -> Iterator[int]:
    """Indices below ``count`` in an order that the record's id decides, each at most once."""
    seen = set()
    for draw in range(_MAX_DRAWS):
        index = _hash(f"distractor {draw}", record.id) % count
        if index not in seen:
            seen.add(index)
            yield index


def _hash(purpose: str, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{purpose}\0{text}".encode(), digest_size=8).digest())
