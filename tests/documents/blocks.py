# SPDX-License-Identifier: Apache-2.0
"""What stands in the fenced blocks of a document, and the commands in its text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "simulations" / "README.md",  # a page of the site, too
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "reference" not in path.parts),
]
"""Everything that is read to learn how to use it; the pages of the reference are made from the program."""

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(fedpeft [^`]+)`")
_PROGRAM = re.compile(r"^(fedpeft|make|flwr|pip|python) ", re.MULTILINE)  # otherwise it is a formula
_MODULE = re.compile(r"python -m (simulations(?:\.\w+)*)(?: (?:run |table )?(\w+))?")
_COMMENT = re.compile(r"\s+#.*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title if it has one, its text, its first line."""

    language: str
    title: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, continued ones joined, comments and here-documents left out."""
        lines, ends = [], ""
        for line in self.text.replace("\\\n", " ").splitlines():
            if ends:
                ends = "" if line == ends else ends
                continue
            word = re.search(r"<<'?([A-Z]+)'?$", line)
            ends = word[1] if word else ""
            if line := _COMMENT.sub("", line).strip():
                lines.append(line)
        return lines


def blocks_of(document: Path) -> list[Block]:
    """Every fenced block of a document."""
    text, found = document.read_text("utf-8"), []
    for match in _FENCE.finditer(text):
        language, _, rest = match[1].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(language, title[1] if title else "", match[2], line))
    return found


def shell_commands(document: Path) -> Iterator[tuple[int, str]]:
    """Every command in the shell blocks of a document, with the line of its block."""
    for block in blocks_of(document):
        if block.language in ("bash", "sh") or (not block.language and _PROGRAM.search(block.text)):
            yield from ((block.line, command) for command in block.commands)


def inline_commands(document: Path) -> list[list[str]]:
    """The words of every ``fedpeft`` command that stands in the text, with its program left out."""
    text = _FENCE.sub("", document.read_text("utf-8"))
    return [shlex.split(" ".join(command.split()))[1:] for command in _INLINE.findall(text)]


def programs(document: Path) -> list[tuple[str, str]]:
    """Every program of ``simulations`` that a document names anywhere, with its first argument or ``""``."""
    return [(match[1], match[2] or "") for match in _MODULE.finditer(document.read_text("utf-8"))]
