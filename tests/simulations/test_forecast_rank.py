# SPDX-License-Identifier: Apache-2.0
"""The program that compares forecasts with outcomes: each once, and a correlation that can be checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.errors import ConfigError
from fedpeft.testing import write_records
from simulations import forecast_rank as program
from simulations.grid import __main__ as grid
from simulations.grid.__main__ import Places
from tests.simulations.grid.conftest import EXPERIMENT
from tests.simulations.grid.conftest import places as places


def test_cells_are_forecast_once_and_compared(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = EXPERIMENT.replace("seeds = [1, 2]", "seeds = [1]")
    (places.experiments / "tiny.toml").write_text(short.replace('=1"]', '=1", "selection.seeds=2"]'))
    write_records(tmp_path / "public.jsonl", 12, seed=9)
    arguments = ["tiny", "--data", str(tmp_path / "public.jsonl")]
    assert program.main(arguments, places) == 0
    assert json.loads((places.results / "tiny.rank.json").read_text())["cells"] == {}
    assert grid.main(["run", "tiny"], places) == 0
    monkeypatch.setattr(program, "forecast", lambda *_: pytest.fail("forecast twice"))
    assert program.main(arguments, places) == 0
    assert "2 of 2 cells are forecast" in capsys.readouterr().out
    found = json.loads((places.results / "tiny.rank.json").read_text())
    assert set(found["cells"]) == {"plain", "flat"}
    assert all(row["forecast"] > 0 and row["outcome"] > 0 for row in found["cells"].values())
    assert (found["count"], found["spearman"]) == (2, None)


def test_no_forecast_is_begun_too_late(places: Places, tmp_path: Path) -> None:
    write_records(tmp_path / "public.jsonl", 12, seed=9)
    arguments = ["tiny", "--data", str(tmp_path / "public.jsonl"), "--minutes", "0"]
    assert program.main(arguments, places) == 0
    assert (places.results / "tiny.forecasts.jsonl").read_text() == ""


def test_without_rows_there_is_nothing_to_play_on(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["tiny"], places) == 2
    assert "--data: missing" in capsys.readouterr().err


def test_the_correlation_is_of_ranks() -> None:
    cells = [{"forecast": x, "outcome": x**3} for x in (1.0, 2.0, 30.0, 4.0)]
    assert program.correlation(cells)["spearman"] == pytest.approx(1)
    turned = [{"forecast": c["forecast"], "outcome": -c["outcome"]} for c in cells]
    assert program.correlation(turned)["spearman"] == pytest.approx(-1)
    mixed = [{"forecast": float(i), "outcome": float(o)} for i, o in enumerate([1, 0, 2, 4, 3, 5, 7, 6, 8])]
    found = program.correlation(mixed)
    assert found["low"] < found["spearman"] < found["high"]
    assert found["spearman"] == pytest.approx(1 - 6 * 6 / (9 * 80))
    with pytest.raises(ConfigError, match="alike"):
        program.correlation([{"forecast": 1.0, "outcome": x} for x in (1.0, 2.0, 3.0)])
