# SPDX-License-Identifier: Apache-2.0
"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    Attributes:
        is_good: nothing to mend.
        text: what was found; where it is not good, also the mend.
    """

    is_good: bool
    text: str
