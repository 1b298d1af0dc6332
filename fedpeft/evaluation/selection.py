# SPDX-License-Identifier: Apache-2.0
"""Which records are evaluated, and which wrong answers each is ranked against.

Both follow from hashes of the records' ids, so that the same records are asked the same questions before and
after training, on any machine and in whatever order they were read.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from fedpeft.data.records import Record, Turn
from fedpeft.errors import DataError

NUM_DISTRACTORS = 3
_MAX_DRAWS = 64


class Encoder(Protocol):
    """What is used of :class:`fedpeft.data.prompts.Prompter`."""

    max_length: int

    def prompt_ids(self, instruction: str, before: Sequence[Turn] = ()) -> list[int]:
        """Tokens before the response; at least one, fewer than ``max_length``."""
        ...

    def response_ids(self, response: str) -> list[int]:
        """Tokens of the response; at least one."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its candidate responses, as tokens cut to the maximal length; the first one is true.

    ``responses`` has one entry where the record is not ranked, else all labels or ``1 + NUM_DISTRACTORS``.
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


def check_labels(records: Sequence[Record], labels: Sequence[str]) -> None:
    """Refuse records whose response is none of the labels.

    Raises:
        DataError: there is such a record; it tells how many there are, and no content.
    """
    wrong = sum(record.response not in labels for record in records)
    if wrong:
        raise DataError(
            f"evaluation.labels: {wrong} of {len(records)} records to evaluate have another response; "
            "list every label, or leave the key out"
        )


def ask(records: Sequence[Record], encoder: Encoder, labels: Sequence[str] = ()) -> list[Question]:
    """Make the question of each record.

    With ``labels``, distractors are all the others of them. Without, they come from the other records of its
    task: a record is ranked when its task has at least four records and three responses among them differ, as
    the model sees them, from its own and from each other.
    """
    texts_of: dict[str, list[str]] = defaultdict(list)
    for record in records:
        texts_of[record.task].append(record.response)
    ranked = {task: texts for task, texts in texts_of.items() if len(texts) > NUM_DISTRACTORS}
    return ask_against(records, encoder, ranked, labels)


def ask_against(
    records: Sequence[Record],
    encoder: Encoder,
    distractors: Mapping[str, Sequence[str]],
    labels: Sequence[str] = (),
) -> list[Question]:
    """Make the question of each record, with distractors from those of its task.

    Args:
        records: to be asked.
        encoder: of the model's tokenizer.
        distractors: responses by task, in any order. A record is ranked when three of them differ, as the
            model sees them, from its own response and from each other.
        labels: where given, all of them but the true one are the distractors.
    """
    # Sorted and without repetitions, so that the order of the records does not matter.
    texts_of = {task: sorted(set(texts)) for task, texts in distractors.items()}
    encoded = cache(encoder.response_ids)
    closed = sorted(set(labels))
    questions = []
    for record in records:
        prompt = encoder.prompt_ids(record.instruction, record.before)
        room = encoder.max_length - len(prompt)
        candidates: Iterable[str] = ()
        if closed:
            candidates = closed
        elif texts := texts_of.get(record.task):
            candidates = (texts[index] for index in _draws(record, len(texts)))
        wanted = len(closed) or 1 + NUM_DISTRACTORS
        responses = _different((encoded(text)[:room] for text in (record.response, *candidates)), wanted)
        is_ranked = len(responses) == wanted > 1
        questions.append(Question(tuple(prompt), tuple(responses if is_ranked else responses[:1])))
    return questions


def _different(responses: Iterable[Sequence[int]], wanted: int) -> list[tuple[int, ...]]:
    """The first responses that differ, as tokens; at most ``wanted``."""
    found: dict[tuple[int, ...], None] = {}
    for response in responses:
        found[tuple(response)] = None
        if len(found) == wanted:
            break
    return list(found)


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
