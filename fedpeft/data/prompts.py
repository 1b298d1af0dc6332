# SPDX-License-Identifier: Apache-2.0
"""An instruction and a response become tokens, as the backbone's own chat template has it.

Prompt and response are tokenized apart, so that the boundary between them, and with it what the loss counts,
is exact whatever the tokenizer merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jinja2
import numpy as np
import numpy.typing as npt

from fedpeft.errors import BackboneError, ConfigError, DataError

_Message = dict[str, str]
_Opening = tuple[list[_Message], str, str]
# Stand for the texts when the template is taken apart; no template treats such words in its own way.
_SYSTEM, _USER, _ASSISTANT = "SYSTEMTEXT", "USERTEXT", "ASSISTANTTEXT"


class ChatTokenizer(Protocol):
    """What is used of a ``transformers`` tokenizer."""

    chat_template: Any
    bos_token: Any
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
    the prompt only when it leaves no room for one token of response, and then at the end of the instruction,
    so that the marks which say whose turn it is always stay.

    Attributes:
        max_length: most tokens of prompt and response together.
    """

    def __init__(self, tokenizer: ChatTokenizer, *, max_length: int, system_prompt: bool) -> None:
        """Take the chat template apart.

        Args:
            tokenizer: the backbone's own, with a chat template.
            max_length: most tokens of an example.
            system_prompt: keep the system prompt that the template inserts by itself.

        Raises:
            BackboneError: the tokenizer has no chat template, or it cannot render one user's turn.
            ConfigError: ``max_length`` is too small for the template itself.
        """
        if not tokenizer.chat_template:
            raise BackboneError(
                "model.backbone: its tokenizer has no chat template, which says where a response begins; "
                "name an instruction-tuned backbone, or add chat_template.jinja to its folder"
            )
        self.max_length = max_length
        self._tokenizer = tokenizer
        plain: _Opening = [], "", ""
        self._head, self._cut, self._lead = plain if system_prompt else self._without_system_prompt()
        frame = self._prompt_text(_USER)
        if _USER not in frame:
            raise BackboneError(
                "model.backbone: its chat template leaves out what the user says; name another"
            )
        before, self._after = (self._tokens(part) for part in frame.split(_USER, 1))
        self._end = self._end_of_turn()
        smallest = len(before) + 1 + len(self._after) + 1
        if max_length < smallest:
            raise ConfigError(
                f"data.max_length is {max_length}, but the chat template needs {smallest} tokens for one of "
                f"instruction and one of response; set at least {smallest}"
            )

    def encode(self, instruction: str, response: str) -> Example:
        """Encode one record, cut to ``max_length``."""
        full = self._tokens(self._prompt_text(instruction))
        prompt = self._fit(full)
        answer = self.response_ids(response)
        ids = (prompt + answer)[: self.max_length]
        truncated = len(ids) < len(full) + len(answer)
        return Example(np.asarray(ids, dtype=np.int32), len(prompt), truncated)

    def prompt_ids(self, instruction: str) -> list[int]:
        """Tokens up to where the response begins; fewer than ``max_length``."""
        return self._fit(self._tokens(self._prompt_text(instruction)))

    def response_ids(self, response: str) -> list[int]:
        """Tokens of the response and the end-of-turn token, however many they are."""
        return self._tokens(response) + self._end

    def _fit(self, prompt: list[int]) -> list[int]:
        most = self.max_length - 1
        if len(prompt) <= most:
            return prompt
        return prompt[: most - len(self._after)] + self._after

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _render(self, messages: Sequence[Mapping[str, str]], *, generate: bool) -> str:
        text = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate
        )
        return str(text)

    def _prompt_text(self, instruction: str) -> str:
        messages = [*self._head, {"role": "user", "content": instruction}]
        try:
            text = self._render(messages, generate=True)
        except jinja2.TemplateError as error:
            raise BackboneError(
                f"model.backbone: its chat template cannot render a user's turn ({error}); name another"
            ) from error
        return self._lead + text[len(self._cut) :]

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
            text = self._render(turns, generate=False)
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
