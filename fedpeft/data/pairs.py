# SPDX-License-Identifier: Apache-2.0
"""A record as a text that a language model can learn to write, and such a text as a pair again."""

from __future__ import annotations

from typing import Final

from fedpeft.data.prompts import ChatTokenizer, Prompter
from fedpeft.settings import DataSettings

_ASKS: Final = "Question:"
_ANSWERS: Final = "\nAnswer:"


def control(task: str) -> str:
    """The public instruction to write a pair, about ``task`` where it is not empty."""
    about = f" about {task}" if task else ""
    return f"Write a question{about} and its answer."


def pair_prompter(tokenizer: ChatTokenizer, data: DataSettings) -> Prompter:
    """Encodes controls and pairs: as ``data`` has it, without the words that it puts around instructions."""
    return Prompter.of(tokenizer, data.model_copy(update={"prompt": None, "end_of_turn": True}))


def pair_as_text(instruction: str, response: str) -> str:
    """What a model shall write after a control."""
    return f"{_ASKS} {instruction}{_ANSWERS} {response}"


def read_pair(text: str) -> tuple[str, str] | None:
    """The instruction and the response of such a text; ``None`` where either is missing."""
    start, asks, rest = text.strip().partition(_ASKS)
    instruction, answers, response = rest.partition(_ANSWERS)
    pair = instruction.strip(), response.strip()
    return pair if asks and answers and not start and all(pair) else None
