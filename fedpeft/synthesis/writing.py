# SPDX-License-Identifier: Apache-2.0
"""Texts that the backbone writes by itself, from public prompts and a public seed.

What an adapter learnt from noised releases, or nothing at all, is all that enters; so texts cost no more
privacy than their adapter did.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.pairs import control, pair_prompter, read_pair
from fedpeft.data.prompts import Prompter
from fedpeft.errors import BackboneError, ConfigError
from fedpeft.settings import DataSettings
from fedpeft.synthesis.dataset import SyntheticRow, keep_rows, read_rows
from fedpeft.types import FloatVector

_TOGETHER: Final = 32
"""Texts that are written at once: speed and memory only."""

_MOST_TIMES: Final = 4
"""So many texts are written at most for each row that is wanted."""

FEWEST_TOKENS: Final = 16
"""Of a pair, marks included."""

_TRIED: Final = 4
"""Tokens after which a backbone has shown that it can write."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A backbone with an adapter attached to it.

    Attributes:
        adapter: attached; what it holds afterwards is of no use.
        tokenizer: of the backbone.
        data: how texts are encoded, and how long they may be.
        lock: held by whoever has a vector loaded in the adapter.
        folder: of the run's synthetic data, where rows are kept: what sites vote on must not change when
            a run goes on.
    """

    adapter: Adapter
    tokenizer: Any
    data: DataSettings
    lock: AbstractContextManager[Any]
    folder: Path

    def check(self) -> None:
        """Write a few tokens, of which nothing is kept.

        Raises:
            BackboneError: it cannot write.
            ConfigError: ``data.max_length`` leaves no room for a pair.
        """
        prompter = self._prompter()
        if self.tokenizer.eos_token_id is None:
            raise _cannot("its tokenizer has no token that ends a text")
        ids = prompter.prompt_ids(control(""))
        room = prompter.max_length - len(ids)
        if room < FEWEST_TOKENS:
            raise ConfigError(
                f"data.max_length = {prompter.max_length}: leaves {room} tokens for a pair after its prompt, "
                f"at least {FEWEST_TOKENS} are needed; raise it"
            )
        with self.lock:
            self.adapter.load(self.adapter.zeros())
            try:
                sample(self.adapter, ids, 2, _TRIED, frozenset(), torch.Generator().manual_seed(0))
            except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
                raise _cannot(f"it does not go on from what it has read: {error}") from error

    def write(self, vector: FloatVector, task: str, count: int, seed: int) -> list[str]:
        """``count`` texts about ``task``, by the backbone with ``vector`` as its adapter's state.

        Args:
            vector: ``(d,)``.
            task: public; may be empty.
            count: texts.
            seed: public.

        Raises:
            BackboneError: the backbone's figures are not finite.
        """
        prompter = self._prompter()
        ids = prompter.prompt_ids(control(task))
        end = frozenset([self.tokenizer.eos_token_id, *prompter.response_ids("")[-1:]])
        room = prompter.max_length - len(ids)
        random = torch.Generator().manual_seed(seed)
        texts: list[str] = []
        with self.lock:
            self.adapter.load(vector)
            while len(texts) < count:
                written = sample(self.adapter, ids, min(_TOGETHER, count - len(texts)), room, end, random)
                texts += [str(self.tokenizer.decode(one, skip_special_tokens=True)) for one in written]
        return texts

    def rows(
        self, vector: FloatVector, tasks: Sequence[str], size: int, seed: int, name: str
    ) -> tuple[SyntheticRow, ...]:
        """At most ``size`` different pairs, tasks in equal parts; fewer where few texts are pairs.

        Each row is of a lineage of its own. They are written once in the life of a run.

        Args:
            vector: ``(d,)`` the adapter's state.
            tasks: public; none: pairs about anything.
            size: rows that are wanted.
            seed: public.
            name: what their ids and lineages begin with.

        Raises:
            BackboneError: as :meth:`write`.
            RunDirectoryError: the folder cannot be written.
        """
        path = self.folder / f"{name}.jsonl"
        if path.is_file():
            return read_rows(path)
        rows = self._new_rows(vector, tasks, size, seed, name)
        keep_rows(path, rows)
        return rows

    def _new_rows(
        self, vector: FloatVector, tasks: Sequence[str], size: int, seed: int, name: str
    ) -> tuple[SyntheticRow, ...]:
        found: dict[tuple[str, str], SyntheticRow] = {}
        known = tasks or ("",)
        for number, task in enumerate(known):
            wanted = len(found) + size // len(known) + (number < size % len(known))
            for again in range(_MOST_TIMES):
                if len(found) >= wanted:
                    break
                texts = self.write(vector, task, wanted - len(found), seed + 1000 * number + again)
                for instruction, response in filter(None, map(read_pair, texts)):
                    lineage = f"{name}/{task or 'any'}/{len(found)}"
                    row = SyntheticRow(lineage, instruction, response, task, lineage)
                    found.setdefault((_plain(instruction), _plain(response)), row)
        return tuple(found.values())[:size]

    def _prompter(self) -> Prompter:
        return pair_prompter(self.tokenizer, self.data)


@torch.no_grad()
def sample(
    adapter: Adapter,
    ids: Sequence[int],
    count: int,
    room: int,
    end: frozenset[int],
    random: torch.Generator,
) -> list[list[int]]:
    """Draw ``count`` continuations of ``ids`` from the model as it is, each up to a token of ``end``.

    Args:
        adapter: attached to the model, loaded.
        ids: of the prompt, at least one.
        count: of continuations.
        room: most tokens of each.
        end: tokens that end one, and are no part of it.
        random: on the CPU.

    Raises:
        BackboneError: a figure is not finite.
    """
    device = adapter.device
    inputs, cache = torch.tensor([list(ids)] * count, device=device), None
    drawn, done = list[Tensor](), torch.zeros(count, dtype=torch.bool)
    for _ in range(room):
        answer = adapter.model(input_ids=inputs, past_key_values=cache, use_cache=True)
        logits, cache = answer.logits[:, -1].float().cpu(), answer.past_key_values
        if not logits.isfinite().all():
            raise _cannot("its figures are not finite")
        tokens = torch.multinomial(logits.softmax(-1), 1, generator=random)
        drawn.append(tokens)
        done |= torch.tensor([token in end for token in tokens[:, 0].tolist()])
        if done.all():
            break
        inputs = tokens.to(device)
    rows = torch.cat(drawn, 1).tolist() if drawn else [[] for _ in range(count)]
    return [_up_to(row, end) for row in rows]


def _up_to(tokens: list[int], end: frozenset[int]) -> list[int]:
    return tokens[: next((i for i, token in enumerate(tokens) if token in end), len(tokens))]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _cannot(why: str) -> BackboneError:
    return BackboneError(
        f"model.backbone: cannot write texts ({why}); name another, or take the rows from a pool: "
        'synthesis.generator = "pool" with synthesis.written = 0'
    )
