# SPDX-License-Identifier: Apache-2.0
"""What must hold between the keys that tell how a record becomes text and how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fedpeft.config.problems import Problem, shown
from fedpeft.data.template import columns_of

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig


def _prompt(config: RunConfig) -> Iterator[Problem]:
    data = config.data
    columns: tuple[str, ...] = (data.instruction,)
    if data.prompt is not None:
        try:
            columns = columns_of(data.prompt)
        except ValueError as error:
            rule = f"{error}; write it like {shown('Review: {text}')}, a brace itself twice"
            yield Problem(("data.prompt",), f"data.prompt = {shown(data.prompt)}: {rule}")
            return
    if data.remove_prefix and data.instruction not in columns:
        rule = f"has no use where data.prompt lacks {{{data.instruction}}}; remove it, or add the column"
        line = f"data.remove_prefix = {shown(data.remove_prefix)}: {rule}"
        yield Problem(("data.remove_prefix", "data.prompt"), line)


def _messages(config: RunConfig) -> Iterator[Problem]:
    data = config.data
    if data.messages is None:
        return
    for key, given in {"prompt": data.prompt, "remove_prefix": data.remove_prefix}.items():
        if given:
            rule = "has no use with data.messages, whose turns are the prompt; remove one of the two"
            yield Problem((f"data.{key}", "data.messages"), f"data.{key} = {shown(given)}: {rule}")
    if not data.chat_template:
        rule = "turns of data.messages need the chat template; leave it out"
        yield Problem(("data.chat_template", "data.messages"), f"data.chat_template = false: {rule}")


def _messages_have_a_source(config: RunConfig) -> Iterator[Problem]:
    if config.data.messages is not None and config.data.source in ("docstrings", "csv"):
        rule = f'has no use with data.source = "{config.data.source}", which has no lists; remove it'
        line = f"data.messages = {shown(config.data.messages)}: {rule}"
        yield Problem(("data.messages", "data.source"), line)


def _labels(config: RunConfig) -> Iterator[Problem]:
    labels = config.evaluation.labels
    if labels and (len(labels) < 2 or len(set(labels)) < len(labels)):
        rule = "must be at least 2 different ones; add the others, or leave it out"
        yield Problem(("evaluation.labels",), f"evaluation.labels = {shown(list(labels))}: {rule}")
    if config.training.loss_tokens == "labels" and not labels:
        rule = "needs the list of all responses; set evaluation.labels, or leave it out"
        yield Problem(
            ("training.loss_tokens", "evaluation.labels"), f'training.loss_tokens = "labels": {rule}'
        )


TEXT_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (
    _prompt,
    _messages,
    _messages_have_a_source,
    _labels,
)
"""In the order of the sections."""
