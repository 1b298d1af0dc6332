# SPDX-License-Identifier: Apache-2.0
"""``metrics.jsonl``: the scores of the adapter on its way, one line for each evaluation.

A line holds the rounds done, the figures with their intervals as in ``result.json``, and on which records
they are. Figures on records that nobody declared public are exact there as well, and are marked NOT PRIVATE.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol

from fedpeft.errors import RunDirectoryError
from fedpeft.evaluation import Scores, summarize
from fedpeft.stage_settings import EvaluationSettings
from fedpeft.types import JsonDict

METRICS_FILE: Final = "metrics.jsonl"
PUBLIC: Final = "on records declared public"
NOT_PRIVATE: Final = "NOT PRIVATE: exact on held-out records"


class Listener(Protocol):
    """Hears of every evaluation."""

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """The scores after so many rounds."""


class Curve:
    """Keeps what evaluations find, and tells the listener."""

    def __init__(self, folder: Path, evaluation: EvaluationSettings, rounds: int, listener: Listener) -> None:
        """Of the run in ``folder``, which has so many rounds."""
        self._path = folder / METRICS_FILE
        self._evaluation = evaluation
        self._rounds = rounds
        self._listener = listener

    def is_due(self, rounds_done: int) -> bool:
        """Whether the adapter is to be evaluated now; the last round's is evaluated in any case."""
        every = self._evaluation.every
        return every > 0 and rounds_done % every == 0 and rounds_done < self._rounds

    def add(self, rounds_done: int, scores: Scores | None) -> None:
        """Append a line; one for 0 rounds begins the file anew.

        Raises:
            RunDirectoryError: the file cannot be written.
        """
        if scores is None:
            return
        metrics = summarize(scores)
        line = {"round": rounds_done, "metrics": metrics, "privacy": privacy_of(self._evaluation)}
        try:
            if not rounds_done and not self._evaluation.public:
                self._path.unlink(missing_ok=True)
                self._path.touch(mode=0o600)  # exact figures of private records are their owner's alone
            with self._path.open("a" if rounds_done else "w", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunDirectoryError(
                f"{self._path}: cannot be written ({error.strerror}); make room and resume"
            ) from error
        self._listener.evaluated(rounds_done, metrics)


def privacy_of(evaluation: EvaluationSettings) -> str:
    """What exact metrics of a run are."""
    return PUBLIC if evaluation.public else NOT_PRIVATE
