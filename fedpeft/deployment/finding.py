# SPDX-License-Identifier: Apache-2.0
"""What a check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedpeft.types import JsonDict


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    Attributes:
        is_good: nothing to mend.
        text: what was found; where it is not good, also the mend.
    """

    is_good: bool
    text: str


def are_good(findings: Sequence[Finding]) -> bool:
    """Whether nothing is to be mended."""
    return all(finding.is_good for finding in findings)


def to_json(findings: Sequence[Finding]) -> list[JsonDict]:
    """For machines."""
    return [{"good": finding.is_good, "text": finding.text} for finding in findings]


def to_text(findings: Sequence[Finding]) -> str:
    """A line each, for people."""
    return "\n".join(f"{'good ' if finding.is_good else 'MEND '} {finding.text}" for finding in findings)
