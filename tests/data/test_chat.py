# SPDX-License-Identifier: Apache-2.0
"""Chats: the last answer is the response, and nothing of a chat is dropped in silence."""

import pytest

from fedpeft.data.chat import ChatError, split_chat
from fedpeft.data.records import Turn
from fedpeft.data.rows import read_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings


def _chat(*turns):
    return [{"role": role, "content": content} for role, content in turns]


S, U, A = ("system", "Be kind."), ("user", "Why?"), ("assistant", "So.")
U2, A2 = ("user", "And?"), ("assistant", "Thus.")


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((U, A), ("Why?", "So.", ())),
        ((S, U, A), ("Why?", "So.", (Turn(*S),))),
        ((U, A, U2, A2), ("And?", "Thus.", (Turn(*U), Turn(*A)))),
        ((S, U, A, U2, A2), ("And?", "Thus.", (Turn(*S), Turn(*U), Turn(*A)))),
    ],
)
def test_the_last_turn_is_the_response(turns, expected):
    assert split_chat(_chat(*turns)) == expected


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ("Why?", "must be a list"),
        (None, "must be a list"),
        ([], "does not end with the assistant's answer"),
        (_chat(S), "does not end with"),
        (_chat(U), "does not end with"),
        (_chat(U, A, U2), "does not end with"),
        (_chat(A), "message 1 of 'assistant' where 'user'"),
        (_chat(S, A), "message 2 of 'assistant' where 'user'"),
        (_chat(U, U2, A), "message 2 of 'user' where 'assistant'"),
        (_chat(U, A, A2), "message 3 of 'assistant' where 'user'"),
        (_chat(U, S, A), "message 2 of 'system' where 'assistant'"),
        (_chat(S, S, U, A), "message 2 of 'system' where 'user'"),
        (_chat(U, ("tool", "x")), "message 2 with a role other than"),
        (_chat(U, ("assistant", " ")), "message 2 whose content is empty"),
        (_chat(U, ("assistant", "\ud800")), "message 2 whose content is empty or no text"),
        (_chat(U, ("assistant", None)), "message 2 whose content is empty or no text"),
        (["Why?"], "message 1 that is no object"),
    ],
)
def test_anything_else_is_refused(messages, says):
    with pytest.raises(ChatError) as caught:
        split_chat(messages)
    assert says in str(caught.value)
    assert "Why?" not in str(caught.value)


def _read(*rows, **settings):
    settings = DataSettings(source="jsonl", messages="chat", **settings)
    table = ("f", [(f":{number}", row) for number, row in enumerate(rows, 1)])
    return read_records([table], settings, unit="record", missing_unit="refuse")


def test_a_column_of_chats_makes_records():
    [record] = _read({"chat": _chat(S, U, A), "id": "r"}, id="id")
    assert (record.id, record.instruction, record.response, record.before) == (
        "r",
        "Why?",
        "So.",
        (Turn(*S),),
    )


def test_problems_name_the_row_and_the_column():
    with pytest.raises(DataError) as caught:
        _read({"chat": _chat(U, A)}, {"chat": _chat(U)}, {"chats": _chat(U, A)})
    first, second = caught.value.problems
    assert first.startswith("f:2: column 'chat' ([data] messages) does not end")
    assert second == "f:3: column 'chat' ([data] messages) is missing; did you mean 'chats'?"
