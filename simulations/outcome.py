# SPDX-License-Identifier: Apache-2.0
"""How a program of this folder ends: with what it found, or with lines that say what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from fedpeft.errors import FedpeftError, UserError


def exit_code(work: Callable[[], object]) -> int:
    """Do the work; 0, or 2 for bad input and 1 for failure, told in lines on the terminal's error stream."""
    try:
        work()
    except UserError as error:
        print("\n".join(f"error: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    except FedpeftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def leave(found: Any, path: Path) -> None:
    """Write what was found as JSON, and print it."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


class Pace:
    """Whether another piece of work may begin within so many minutes, as long as the longest one so far."""

    def __init__(self, minutes: float | None) -> None:
        """From now on; ``None``: without end."""
        self._minutes = minutes
        self._started = self._since = monotonic()
        self._longest = 0.0

    def may_begin(self) -> bool:
        """Begin one, unless it would probably end too late."""
        self._since = monotonic()
        return self._minutes is None or (self._since - self._started + self._longest) / 60 < self._minutes

    def ended(self) -> float:
        """The one that began is done; its seconds."""
        seconds = monotonic() - self._since
        self._longest = max(self._longest, seconds)
        return seconds
