# SPDX-License-Identifier: Apache-2.0
"""The folder of a run has one process that conducts the run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fedpeft.errors import RunDirectoryError
from fedpeft.folder import alone_in


def test_a_second_process_is_told_to_wait_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with alone_in(tmp_path):
            os.write(writing, b"1")
            signal.pause()
    os.read(reading, 1)
    try:
        with pytest.raises(RunDirectoryError, match="another process conducts this run"), alone_in(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with alone_in(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []  # a run's folder holds nothing more for it


def test_the_same_process_may_come_again(tmp_path: Path) -> None:
    for _ in range(2):
        with alone_in(tmp_path):
            pass
