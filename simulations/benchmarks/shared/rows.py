# SPDX-License-Identifier: Apache-2.0
"""A row of the table: what a benchmark's result means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its bar.

    Attributes:
        measure: what was measured.
        against: what it is compared with; may be empty.
        bar: what it must reach; empty where it is only reported.
        figure: what was found.
        met: whether the bar was reached; ``None`` where there is none.
    """

    measure: str
    against: str
    bar: str
    figure: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In the table's words."""
        return "reported" if self.met is None else "met" if self.met else "**not met**"


def with_interval(ratio: Mapping[str, float]) -> str:
    """A ratio of ``measure.ratio`` as text, wall time first."""
    return (
        f"{ratio['wall']:.2f} [{ratio['wall_low']:.2f}, {ratio['wall_high']:.2f}], CPU time "
        f"{ratio['cpu']:.2f} [{ratio['cpu_low']:.2f}, {ratio['cpu_high']:.2f}], {ratio['pairs']:.0f} pairs"
    )


def inverse(ratio: Mapping[str, float]) -> dict[str, float]:
    """The ratio the other way round, its interval turned as well."""
    out: dict[str, float] = {"pairs": ratio["pairs"]}
    for clock in ("wall", "cpu"):
        out |= {
            clock: 1 / ratio[clock],
            f"{clock}_low": 1 / ratio[f"{clock}_high"],
            f"{clock}_high": 1 / ratio[f"{clock}_low"],
        }
    return out
