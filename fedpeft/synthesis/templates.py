# SPDX-License-Identifier: Apache-2.0
"""The bundled pool: instruction-response pairs that a small grammar makes, the same ones every time.

Families of everyday tasks, each a list of subjects with public common knowledge and a few ways to ask. All
pairs about one subject share a lineage. They are candidates to choose from where no public file is at hand;
a file of the field's own public texts is the better pool.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Final

from fedpeft.synthesis.dataset import SyntheticRow
from fedpeft.synthesis.template_words import (
    ADVICE,
    CODE,
    DEFINITIONS,
    HEALTH,
    MOODS,
    OPENINGS,
    SUMMARIES,
    THINGS,
    UNITS,
)

_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
}


def bundled_pool() -> tuple[SyntheticRow, ...]:
    """Every pair of every family, in a fixed order."""
    families = (_sentiment, _health, _code, _definitions, _advice, _arithmetic, _conversion, _summaries)
    return tuple(row for family in families for row in family())


def _rows(task: str, subject: str, pairs: Iterator[tuple[str, str]]) -> Iterator[SyntheticRow]:
    lineage = f"{task}/{subject}"
    for number, (instruction, response) in enumerate(pairs):
        yield SyntheticRow(f"{lineage}/{number}", instruction, response, task, lineage)


def _sentiment() -> Iterator[SyntheticRow]:
    for thing, (mood, remarks) in itertools.product(THINGS, MOODS.items()):
        texts = (f"{opening}the {thing} {remark}" for opening in OPENINGS for remark in remarks)
        yield from _rows(
            "sentiment", f"{thing}-{mood}", ((f"Review: {text}\nSentiment:", mood) for text in texts)
        )


def _health() -> Iterator[SyntheticRow]:
    asks = {
        "what": ("What is {0}?", "What is (are) {0} ?", "Explain {0} in simple words."),
        "symptoms": ("What are the symptoms of {0}?", "How do I notice {0}?", "Which signs does {0} have?"),
        "treatment": ("What are the treatments for {0}?", "How is {0} treated?", "What helps against {0}?"),
        "causes": ("What causes {0}?", "How does one get {0}?", "Why do people get {0}?"),
    }
    for condition, facts in HEALTH.items():
        pairs = (
            (ask.format(condition), f"{fact} {facts[0]}" if kind != "what" else fact)
            for (kind, ways), fact in zip(asks.items(), facts, strict=True)
            for ask in ways
        )
        yield from _rows("health", condition, pairs)


def _code() -> Iterator[SyntheticRow]:
    for name, (arguments, text) in CODE.items():
        call = f"{name}({arguments})"
        pairs = (
            (f"What does `{call}` do?", text),
            (f"Which function does this? {text}", name),
            (f"What is the signature of `{name}`? {text}", f"({arguments})"),
            (f"Write a docstring for `def {call}`.", f'"""{text}"""'),
            (f"Describe the function `{name}` in one sentence.", text),
            (f"Document this function:\ndef {call}:\n    ...", text),
        )
        yield from _rows("code", name, iter(pairs))


def _definitions() -> Iterator[SyntheticRow]:
    ways = (
        "What is {0}?",
        "Define {0}.",
        "What does the word {0} mean?",
        "Tell me in a sentence what {0} is.",
    )
    for word, meaning in DEFINITIONS.items():
        yield from _rows("definition", word, ((way.format(word), meaning) for way in ways))
        yield from _rows("word", word, iter([(f"Which word means this? {meaning}", word)]))


def _advice() -> Iterator[SyntheticRow]:
    ways = (
        "How do I {0}?",
        "Give me steps to {0}.",
        "I want to {0}. What should I do?",
        "Tips to {0}, please.",
    )
    for goal, steps in ADVICE.items():
        listed = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
        answers = itertools.cycle((" ".join(steps), listed))
        yield from _rows("advice", goal, zip((way.format(goal) for way in ways), answers, strict=False))


def _arithmetic() -> Iterator[SyntheticRow]:
    ways = ("What is {0} {1} {2}?", "Compute {0} {1} {2}.")
    for word, result in _ARITHMETIC.items():
        for left in (3, 7, 12, 18, 25, 40):
            numbers = itertools.product(ways, (2, 5, 9, 11, 16))
            pairs = ((way.format(left, word, right), str(result(left, right))) for way, right in numbers)
            yield from _rows("arithmetic", f"{left}-{word}", pairs)


def _conversion() -> Iterator[SyntheticRow]:
    for (large, small), factor in UNITS.items():
        pairs = (
            (f"How many {small} are {amount} {large}?", f"{amount * factor} {small}.")
            for amount in (2, 3, 5, 8, 10, 24)
        )
        yield from _rows("conversion", f"{large}-{small}", pairs)


def _summaries() -> Iterator[SyntheticRow]:
    ways = ("Summarize: {0}", "Say this in a few words: {0}", "{0}\nWhat is the main point?")
    for short, text in SUMMARIES.items():
        yield from _rows("summary", short, ((way.format(text), short) for way in ways))
