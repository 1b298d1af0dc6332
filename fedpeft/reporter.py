# SPDX-License-Identifier: Apache-2.0
"""Who hears how far a run is.

What is told has left the sites, or is public, but for one thing: scores are exact on private held-out records
where ``evaluation.public`` is false, and a reporter must not pass those on.
"""

from __future__ import annotations

from typing import Protocol

from fedpeft.types import JsonDict


class Reporter(Protocol):
    """Hears how far a run is; the default hears nothing."""

    def evaluating(self, label: str, done: int, total: int) -> None:
        """``done`` of ``total`` records are evaluated ``before`` or ``after`` the rounds."""

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """A round is complete and durable."""

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """The scores after so many rounds, with intervals, as in ``result.json``.

        Exact, and NOT PRIVATE, unless the run's ``evaluation.public`` is true.
        """


class Silence:
    """The reporter that says nothing."""

    def evaluating(self, label: str, done: int, total: int) -> None:
        """Say nothing."""

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """Say nothing."""

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """Say nothing."""
