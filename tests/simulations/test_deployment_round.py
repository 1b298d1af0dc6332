# SPDX-License-Identifier: Apache-2.0
"""What is made of the seconds of a deployed round; measuring them takes minutes and is not for the suite."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from fedpeft.config import load_config
from simulations.benchmarks.deployment_round import rows
from simulations.deployed.federation import Deployment


def _result(**seconds: float) -> dict:
    usual = {"tiny": 6.0, "tiny_loaded": 15.0, "smollm2": 6.5, "smollm2_loaded": 25.0}
    usual |= {"small_adapter": 7.0, "large_adapter": 9.5}
    return {
        way: {
            "seconds": value,
            "rounds": [value - 1, value, value + 1],
            "adapter_mb": 20.0 * ("large" in way),
        }
        for way, value in (usual | seconds).items()
    }


def test_differences_are_of_the_right_ways() -> None:
    tiny, smol, loaded, adapter = rows(_result())
    assert tiny.figure == "6.0 s (of 3 rounds: 5.0 to 7.0 s)"
    assert smol.figure.startswith("6.5 s")
    assert loaded.figure == "+0.5 s against +10.0 s (loaded each round: 25.0 s)"
    assert adapter.figure == "2.5 s (9.5 against 7.0 s)"
    assert [row.met for row in (tiny, smol, loaded, adapter)] == [True, True, None, True]


@pytest.mark.parametrize(
    ("way", "value", "row"), [("tiny", 10.5, 0), ("smollm2", 11.0, 1), ("large_adapter", 13.0, 3)]
)
def test_a_bar_that_is_missed_is_said_to_be(way: str, value: float, row: int) -> None:
    assert rows(_result(**{way: value}))[row].met is False


def test_the_run_of_nodes_that_load_their_data_names_it(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    records = tmp_path / "site0" / "site" / "records.jsonl"
    deployment = Deployment(tmp_path, Mock(), [Mock(identity="site0", folder=tmp_path / "site0")], port=1)
    usual = {"data": {"source": "jsonl", "root": str(tmp_path)}, "evaluation": {"records": 0}}
    records.parent.mkdir(parents=True)
    records.write_text('{"instruction": "a", "response": "b"}\n')
    deployment.write_run(usual, with_records=True)
    (site,) = load_config(tmp_path / "c/run.toml").sites
    assert site.path == records
    deployment.write_run({"data": {"source": "sites"}})
    (site,) = load_config(tmp_path / "c/run.toml").sites
    assert site.path is None
