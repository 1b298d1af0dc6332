# SPDX-License-Identifier: Apache-2.0
"""Results of an experiment: one JSON line a cell, each whole or absent whenever the machine stops."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedpeft.errors import DataError, RunDirectoryError
from fedpeft.evaluation import Scores
from fedpeft.result import anonymous_scores, scores_to_json

Line = dict[str, Any]
_DECIMALS = 4  # of a log-likelihood; its float32 sum is no better


def read_lines(path: Path) -> list[Line]:
    """Every whole line of ``path``; none if it is absent.

    Raises:
        DataError: a line in the middle is no JSON object, so somebody edited the file.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    lines = []
    for number, text in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise DataError(f"{path}:{number}: is no result; restore the file, or remove the line")
        lines.append(line)
    return lines


class Results:
    """A results file that this process alone appends to."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self.lines = read_lines(path)

    def append(self, line: Line) -> None:
        """Write ``line`` and make it durable.

        Raises:
            RunDirectoryError: the disk is full or fails; the file is as it was.
        """
        text = json.dumps(line, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        end = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, text)
            while written < len(text):  # a signal or a full disk; the latter raises now
                written += os.write(self._handle, text[written:])
            os.fsync(self._handle)
        except OSError as error:
            os.ftruncate(self._handle, end)
            raise RunDirectoryError(
                f"{self.path}: cannot be written ({error.strerror}); make room and run the experiment again: "
                "the cells that are there are kept"
            ) from error
        self.lines.append(line)


@contextmanager
def opened(path: Path) -> Iterator[Results]:
    """Open ``path`` (made if absent), alone, and cut off a last line that was torn when a machine stopped.

    Raises:
        RunDirectoryError: another process runs this experiment.
        DataError: see :func:`read_lines`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(f"{path}: another process runs this experiment; wait for it") from error
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.ftruncate(handle, content.rfind(b"\n") + 1)
            os.fsync(handle)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name too
        finally:
            os.close(folder)
        yield Results(path, handle)
    finally:
        os.close(handle)


def pack_scores(scores: Scores) -> str:
    """Scores of single records as a short text: JSON, zlib, base64."""
    lists = scores_to_json(scores)
    lists["log_likelihood"] = [round(value, _DECIMALS) for value in lists["log_likelihood"]]
    return base64.b64encode(zlib.compress(json.dumps(lists).encode(), 9)).decode()


def unpack_scores(text: str) -> Scores:
    """What ``pack_scores`` made; records are named by their place, not by their ids."""
    return anonymous_scores(json.loads(zlib.decompress(base64.b64decode(text))))


def runs_of(line: Line) -> list[Scores]:
    """The scores of a cell: one run's, or one for each site where sites trained by themselves."""
    scores = line["scores"]
    return [unpack_scores(text) for text in ([scores] if isinstance(scores, str) else scores)]
