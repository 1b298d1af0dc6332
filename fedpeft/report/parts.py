# SPDX-License-Identifier: Apache-2.0
"""What a section of the page is made of: texts, facts, charts and the tables behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, Literal

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first cell of a row names it.

    Attributes:
        caption: what the rows are.
        note: below the table.
        folded: shown only when asked for.
    """

    kind: ClassVar = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, what it says in words, and its figures.

    Attributes:
        alt: what a person who does not see it must know.
        svg: one ``<svg>`` element.
        table: the figures; folded.
        wide: takes the whole width of the page.
    """

    kind: ClassVar = "chart"
    title: str
    alt: str
    svg: str
    table: Table
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Pairs of a name and a value."""

    kind: ClassVar = "facts"
    pairs: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph; ``tone`` says how much it matters."""

    kind: ClassVar = "note"
    text: str
    tone: Literal["plain", "good", "warn", "bad"] = "plain"


@dataclass(frozen=True, slots=True)
class Quote:
    """The sentence to sign, as it was made."""

    kind: ClassVar = "quote"
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A text in its own lines, like a configuration file; folded."""

    kind: ClassVar = "listing"
    title: str
    text: str


Block = Table | Chart | Facts | Note | Quote | Listing


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: tuple[Block, ...]

    @property
    def groups(self) -> list[tuple[str, list[Block]]]:
        """The blocks in order, charts that follow one another together under ``charts``."""
        kinds = groupby(self.blocks, lambda block: "charts" if isinstance(block, Chart) else "others")
        return [(kind, list(group)) for kind, group in kinds]


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> Table:
    """A table from any sequences."""
    return Table(caption, tuple(columns), tuple(tuple(row) for row in rows), note)
