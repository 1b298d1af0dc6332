# SPDX-License-Identifier: Apache-2.0
"""A folder with a short path that every user may enter, and processes that end with the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulations.deployed.processes import Processes


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fp", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def processes(place: Path) -> Iterator[Processes]:
    with Processes(place) as made:
        yield made
