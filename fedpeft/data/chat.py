# SPDX-License-Identifier: Apache-2.0
"""A chat as one record: the last turn, the assistant's, is the response; what stands before it the prompt.

Earlier answers of the assistant are read by the model and not trained on.
"""

from __future__ import annotations

from typing import Any

from fedpeft.data.records import Turn, is_unicode


class ChatError(Exception):
    """What is wrong with a chat."""


def split_chat(messages: Any) -> tuple[str, str, tuple[Turn, ...]]:
    """Take a chat apart.

    Args:
        messages: a list of ``{"role", "content"}``: one system turn or none, then user and assistant in turn
            up to the assistant's answer. Other keys of a message are not read.

    Returns:
        What the user says last, the answer to it, and the turns before both.

    Raises:
        ChatError: it is no such list.
    """
    if not isinstance(messages, list):
        raise ChatError("must be a list of {role, content}; a file of text columns cannot hold one")
    turns = [_turn(number, message) for number, message in enumerate(messages, 1)]
    first = 1 if turns and turns[0].role == "system" else 0
    for number, turn in enumerate(turns[first:], first):
        role = ("user", "assistant")[(number - first) % 2]
        if turn.role != role:
            raise ChatError(f"has message {number + 1} of {turn.role!r} where {role!r} should speak")
    if len(turns) < first + 2 or turns[-1].role != "assistant":
        raise ChatError(
            "does not end with the assistant's answer to the user; remove what follows, or the row"
        )
    return turns[-2].content, turns[-1].content, tuple(turns[:-2])


def _turn(number: int, message: Any) -> Turn:
    if not isinstance(message, dict):
        raise ChatError(f"has message {number} that is no object; write role and content")
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant"):
        raise ChatError(f"has message {number} with a role other than 'system', 'user' and 'assistant'")
    if not isinstance(content, str) or not content.strip() or not is_unicode(content):
        raise ChatError(f"has message {number} whose content is empty or no text; fill it")
    return Turn(role, content)
