# SPDX-License-Identifier: Apache-2.0
"""Completion in bash of words that hold ``=``, such as ``--set privacy.allocation=kl``.

Bash takes ``=`` for the end of a word: it hands over three words, and replaces the last of them alone. The
other shells hand over one word and replace it whole.
"""

from __future__ import annotations

from typing import final

from click.shell_completion import BashComplete, CompletionItem, add_completion_class


def register() -> None:
    """Let click use it for bash."""
    add_completion_class(WholeWords)


@final
class WholeWords(BashComplete):
    """Puts together what bash took apart, and answers with what it wants to replace."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The whole words before the one that is being written, and what is there of that one."""
        before, incomplete = super().get_completion_args()
        *words, last = joined([*before, incomplete])
        # After `--set=` click completes what follows; bash knows of nothing but what follows the last `=`.
        value = last.partition("=")[2] if last.startswith("-") else last
        self._is_there = value[: value.rfind("=") + 1]
        return words, last

    def format_completion(self, item: CompletionItem) -> str:
        """Type and text, without what stands before the last ``=`` on the line already."""
        return f"{item.type},{item.value.removeprefix(self._is_there)}"


def joined(words: list[str]) -> list[str]:
    """Words as they were typed: ``["a", "=", "b"]`` was ``a=b``."""
    whole: list[str] = []
    for word in words:
        is_value = bool(whole) and whole[-1].endswith("=") and not word.startswith("-")
        if whole and (word == "=" or is_value):
            whole[-1] += word
        else:
            whole.append(word)
    return whole
