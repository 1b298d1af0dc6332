# SPDX-License-Identifier: Apache-2.0
"""An instruction and a response become tokens, as the backbone's own chat template has it, or as they are.

Prompt and response are tokenized apart, so that the boundary between them, and with it what the loss counts,
is exact whatever the tokenizer merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import jinja2
import numpy as np
import numpy.typing as npt

from fedpeft.data.records import Turn
from fedpeft.data.template import tail_of
from fedpeft.errors import BackboneError, ConfigError, DataError
from fedpeft.settings import DataSettings

_Message = dict[str, str]
_Opening = tuple[list[_Message], str, str]
# Stand for the texts when the template is taken apart; no template treats such words in its own way.
_SYSTEM, _USER, _ASSISTANT = "SYSTEMTEXT", "USERTEXT", "ASSISTANTTEXT"


class ChatTokenizer(Protocol):
    """What is used of a ``transformers`` tokenizer."""

    chat_template: Any
    bos_token: Any
    bos_token_id: Any
    eos_token_id: Any
    all_special_ids: Any
    added_tokens_decoder: Any

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Render messages."""
        ...

    def encode(self, text: Any, **kwargs: Any) -> Any:
        """Tokenize a text."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A record as tokens. The loss is that of ``ids[num_prompt:]`` alone.

    Attributes:
        ids: ``(T,)`` prompt, then response; T is at most the maximal length.
        num_prompt: tokens of the prompt, 1 <= ``num_prompt`` < T.
        truncated: whether anything was cut away.
    """

    ids: npt.NDArray[np.int32]
    num_prompt: int
    truncated: bool

    def __post_init__(self) -> None:
        """Refuse an example whose first response token nothing predicts, or that has none.

        Raises:
            DataError: as said.
        """
        if not 1 <= self.num_prompt < self.ids.size:
            raise DataError(
                f"a record has {self.num_prompt} tokens of prompt in {self.ids.size}; it needs at least one "
                "of prompt and one of response: mend its text or the chat template"
            )


class Prompter:
    """Encodes instructions and responses for one backbone.

    A response ends with the template's end-of-turn token. What is too long is cut: the response at its end;
    the prompt only when it leaves no room for one token of response. Of a prompt the oldest turns of a chat
    go first, then the end of the instruction, so that the marks which say whose turn it is always stay.

    Attributes:
        max_length: most tokens of prompt and response together.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        *,
        max_length: int,
        system_prompt: bool = False,
        chat_template: bool = True,
        end_of_turn: bool = True,
        tail: str = "",
    ) -> None:
        """Take the chat template apart.

        Args:
            tokenizer: the backbone's own.
            max_length: most tokens of an example.
            system_prompt: keep the system prompt that the template inserts by itself.
            chat_template: use the tokenizer's; otherwise a prompt is the instruction alone, after the token
                that the tokenizer begins every text with, if it does.
            end_of_turn: end each response with the token that ends a turn, or a text where there are none.
            tail: what every instruction ends with; it stays when the instruction is cut.

        Raises:
            BackboneError: the tokenizer has no chat template, or it cannot render one user's turn.
            ConfigError: ``max_length`` is too small for the template itself.
        """
        if chat_template and not tokenizer.chat_template:
            raise BackboneError(
                "model.backbone: its tokenizer has no chat template, which says where a response begins; "
                "name an instruction-tuned backbone, add chat_template.jinja to its folder, or set "
                "data.chat_template = false"
            )
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._is_chat = chat_template
        plain: _Opening = [], "", ""
        self._head, self._cut, self._lead = (
            plain if system_prompt or not chat_template else self._without_system_prompt()
        )
        self._begin = [] if chat_template else self._begin_of_text()
        self._space = " " if not chat_template and tail == tail.rstrip() else ""
        frame = self._prompt_text(_USER, ())
        if _USER not in frame:
            raise BackboneError(
                "model.backbone: its chat template leaves out what the user says; name another"
            )
        before, after = frame.split(_USER, 1)
        self._after = self._tokens(tail + after)
        self._end = self._end_of_turn() if end_of_turn else []
        smallest = len(self._begin) + len(self._tokens(before)) + 1 + len(self._after) + 1
        if max_length < smallest:
            raise ConfigError(
                f"data.max_length is {max_length}, but the chat template needs {smallest} tokens for one of "
                f"instruction and one of response; set at least {smallest}"
            )

    @classmethod
    def of(cls, tokenizer: ChatTokenizer, data: DataSettings) -> Self:
        """The prompter that ``data`` describes; raises what making one does."""
        return cls(
            tokenizer,
            max_length=data.max_length,
            system_prompt=data.system_prompt,
            chat_template=data.chat_template,
            end_of_turn=data.end_of_turn,
            tail=tail_of(data.prompt) if data.prompt else "",
        )

    def encode(self, instruction: str, response: str, before: Sequence[Turn] = ()) -> Example:
        """Encode one record, cut to ``max_length``; ``before`` are the turns that come before it."""
        prompt, is_cut = self._fit(instruction, before)
        answer = self.response_ids(response)
        ids = (prompt + answer)[: self.max_length]
        truncated = is_cut or len(ids) < len(prompt) + len(answer)
        return Example(np.asarray(ids, dtype=np.int32), len(prompt), truncated)

    def prompt_ids(self, instruction: str, before: Sequence[Turn] = ()) -> list[int]:
        """Tokens up to where the response begins; fewer than ``max_length``."""
        return self._fit(instruction, before)[0]

    def response_ids(self, response: str) -> list[int]:
        """Tokens of the response and, where one is wanted, the end-of-turn token, however many they are."""
        return self._tokens(self._space + response) + self._end

    def _fit(self, instruction: str, before: Sequence[Turn]) -> tuple[list[int], bool]:
        """The prompt's tokens with one place left for the response, and whether anything was cut away."""
        most = self.max_length - 1
        system = [turn for turn in before[:1] if turn.role == "system"]
        rest = list(before[len(system) :])
        is_cut = False
        while True:
            prompt = self._begin + self._tokens(self._prompt_text(instruction, [*system, *rest]))
            if len(prompt) <= most:
                return prompt, is_cut
            is_cut = True
            if rest:
                del rest[:2]  # a turn of the user with its answer
            elif system and not self._has_room(system):
                system = []
            else:
                return prompt[: most - len(self._after)] + self._after, True

    def _has_room(self, system: Sequence[Turn]) -> bool:
        """Whether one token of instruction fits after a system turn."""
        before = self._prompt_text(_USER, system).split(_USER, 1)[0]
        return len(self._tokens(before)) + 1 + len(self._after) + 1 <= self.max_length

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _render(self, messages: Sequence[Mapping[str, str]], *, generate: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate
        )
        return str(text)

    def _prompt_text(self, instruction: str, before: Sequence[Turn]) -> str:
        if not self._is_chat:
            return instruction
        turns = [
            {"role": turn.role, "content": turn.content} for turn in (*before, Turn("user", instruction))
        ]
        given = turns[0]["role"] == "system"  # instead of the template's own system prompt
        try:
            text = self._render(turns if given else [*self._head, *turns], generate=True)
        except jinja2.TemplateError as error:
            which = "a system turn" if given else "a user's turn"
            raise BackboneError(
                f"model.backbone: its chat template cannot render {which} ({error}); name another"
            ) from error
        return text if given else self._lead + text[len(self._cut) :]

    def _begin_of_text(self) -> list[int]:
        """The token that the tokenizer puts before every text, where it does."""
        begin = self._tokenizer.bos_token_id
        first = list(self._tokenizer.encode(_USER, add_special_tokens=True, verbose=False))[:1]
        return [begin] if begin is not None and first == [begin] else []

    def _without_system_prompt(self) -> _Opening:
        """Find what renders a user's turn alone: messages to put first, text to cut off, text to put back.

        A template that inserts a default system prompt leaves it out when there is a system turn, and that
        turn can be rendered alone and taken away.
        """
        plain: _Opening = [], "", ""
        system = {"role": "system", "content": _SYSTEM}
        user = {"role": "user", "content": _USER}
        try:
            alone = self._render([system], generate=False)
            both = self._render([system, user], generate=True)
        except jinja2.TemplateError:
            return plain  # refuses a system role, so it inserts none
        rest = both.removeprefix(alone)
        if not alone or rest == both or _SYSTEM in rest or _USER not in rest:
            return plain  # the system text is part of the user's turn: nothing stands alone
        bos = self._tokenizer.bos_token or ""
        lead = bos if bos and alone.startswith(bos) and not rest.startswith(bos) else ""
        return [system], alone, lead

    def _end_of_turn(self) -> list[int]:
        """Tokens that end the assistant's turn: to the first special one that the template writes, or EOS."""
        turns = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}]
        try:
            text = self._render(turns, generate=False) if self._is_chat else ""
        except jinja2.TemplateError:
            text = ""
        tokenizer = self._tokenizer
        special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        special.update(tokenizer.all_special_ids)
        end = self._tokens(text.rpartition(_ASSISTANT)[2]) if _ASSISTANT in text else []
        for position, token in enumerate(end):
            if token in special:
                return end[: position + 1]
        return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
