# SPDX-License-Identifier: Apache-2.0
"""Every program that a document names can at least be loaded: a name that moved would break it unseen."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(path.stem for path in (ROOT / "simulations").glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_loads(name: str) -> None:
    assert importlib.import_module(f"simulations.{name}").__doc__
