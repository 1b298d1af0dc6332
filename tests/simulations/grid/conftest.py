# SPDX-License-Identifier: Apache-2.0
"""A tiny experiment in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpeft.testing import tiny_config
from simulations.grid.__main__ import Places

EXPERIMENT = """
title = "A tiny experiment"
base = "../run.toml"
set = ["federation.rounds=1"]
seeds = [1, 2]
reference = "plain"

[[cells]]
name = "plain"

[[cells]]
name = "flat"
set = ['privacy.clipping="flat"']
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """With the experiment ``tiny`` in it: two cells, two seeds."""
    tiny_config(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.toml").write_text(EXPERIMENT)
    (tmp_path / "README.md").write_text("# Mine\n\nkept\n")
    return Places(
        experiments=tmp_path / "experiments",
        results=tmp_path / "results",
        figures=tmp_path / "figures",
        readme=tmp_path / "README.md",
        work=tmp_path / "work",
    )
