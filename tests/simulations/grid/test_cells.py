# SPDX-License-Identifier: Apache-2.0
"""Cells are run once each, whatever stops the process and whenever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fedpeft.errors import FedpeftError
from fedpeft.flower.simulation import simulate
from simulations.grid import cells as cells_module
from simulations.grid.__main__ import Places, main
from simulations.grid.experiment import load_experiment
from simulations.grid.results import read_lines

ROOT = Path(__file__).resolve().parents[3]
EVERY = Counter([("plain", 1), ("flat", 1), ("plain", 2), ("flat", 2)])


def _counted(places: Places) -> Counter:
    return Counter((line["cell"], line["seed"]) for line in read_lines(places.lines("tiny")))


def test_a_line_names_no_folder_of_this_machine(places: Places, tmp_path: Path) -> None:
    path = places.experiments / "tiny.toml"
    given = path.read_text().replace('rounds=1"]', f'rounds=1", \'data.root="{tmp_path}"\']')
    path.write_text(given)
    assert main(["run", "tiny", "--only", "plain", "--minutes", "60"], places) == 0
    content = places.lines("tiny").read_text()
    assert f'data.root=\\"{tmp_path.name}' in content
    assert str(tmp_path) not in content


def test_every_cell_has_a_line_and_none_is_run_twice(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny"], places) == 0
    assert "4 of 4 cells are done" in capsys.readouterr().out
    assert _counted(places) == EVERY
    content = places.lines("tiny").read_bytes()
    assert str(tmp_path).encode() not in content
    for line in read_lines(places.lines("tiny")):
        assert line["guarantee"].startswith("none: seeded")
        assert line["epsilon"] == 8.0
        assert line["metrics"]["after"]["perplexity"]["value"] > 0
    monkeypatch.setattr(cells_module, "run_cell", lambda *_: pytest.fail("ran a cell again"))
    assert main(["run", "tiny"], places) == 0
    assert places.lines("tiny").read_bytes() == content
    assert not any(places.work.glob("*"))


def test_a_cell_finds_what_a_run_by_itself_finds(places: Places, tmp_path: Path) -> None:
    """What cells share changes nothing."""
    assert main(["run", "tiny"], places) == 0
    lines = read_lines(places.lines("tiny"))
    for cell, line in zip(load_experiment("tiny", places.experiments).cells, lines, strict=True):
        assert simulate(cell.config, tmp_path / cell.identity)["metrics"] == line["metrics"]


def test_only_some_cells_and_no_more_than_there_is_time_for(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tiny", "--only", "fl*", "--minutes", "1e-9"], places) == 0
    assert _counted(places) == Counter()
    assert main(["run", "tiny", "--only", "fl*"], places) == 0
    assert _counted(places) == Counter([("flat", 1), ("flat", 2)])
    assert main(["run", "tiny", "--only", "round"], places) == 2
    assert "fits no cell" in capsys.readouterr().err


def test_of_several_experiments_those_run_that_have_such_a_cell(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (places.experiments / "tiny.toml").read_text("utf-8")
    (places.experiments / "other.toml").write_text(
        text.replace('name = "flat"', 'name = "level"'), encoding="utf-8"
    )
    assert main(["run", "tiny", "other", "--only", "flat"], places) == 0
    assert {line["cell"] for line in read_lines(places.lines("tiny"))} == {"flat"}
    assert not places.lines("other").exists()
    assert main(["run", "tiny", "other", "--only", "flat", "round"], places) == 2
    assert "--only round: fits no cell" in capsys.readouterr().err


def test_a_cell_of_two_experiments_is_run_once(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "tiny", "--only", "flat"], places) == 0
    text = (places.experiments / "tiny.toml").read_text("utf-8")
    (places.experiments / "other.toml").write_text(
        text.replace('name = "flat"', 'name = "level"'), encoding="utf-8"
    )
    no_result = {"id": read_lines(places.lines("tiny"))[0]["id"], "config": {}}  # as a forecast's line
    (places.results / "a.jsonl").write_text(json.dumps(no_result) + "\n", encoding="utf-8")
    ran = []
    original = cells_module.run_cell
    monkeypatch.setattr(
        cells_module, "run_cell", lambda cell, *rest: ran.append(cell.name) or original(cell, *rest)
    )
    assert main(["run", "other"], places) == 0
    assert set(ran) == {"plain"}
    for line in read_lines(places.lines("tiny")):
        twin = next(
            one
            for one in read_lines(places.lines("other"))
            if (one["cell"], one["seed"]) == ("level", line["seed"])
        )
        assert twin.pop("measured_in") == "tiny"
        assert twin == line | {"cell": "level"}


@pytest.mark.parametrize("kind", ["federated", "pooled"])
def test_cells_without_privacy_are_marked(places: Places, kind: str) -> None:
    path = places.experiments / "tiny.toml"
    path.write_text(path.read_text().replace('name = "flat"\n', f'name = "flat"\nkind = "{kind}"\n'))
    assert main(["run", "tiny"], places) == 0
    for line in read_lines(places.lines("tiny")):
        if line["cell"] == "flat":
            assert (line["guarantee"], line["epsilon"]) == ("none: not private", None)
        else:
            assert line["epsilon"] == 8.0
    assert main(["table", "tiny"], places) == 0
    assert "flat, NOT PRIVATE" in places.readme.read_text()


def test_a_cell_that_fails_is_a_finding(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    original = cells_module.run_method

    def diverges(config: object, *arguments: object, **keywords: object) -> object:
        if config.privacy.clipping == "flat":
            raise FedpeftError("round 1 made weights that are not finite")
        return original(config, *arguments, **keywords)

    monkeypatch.setattr(cells_module, "run_method", diverges)
    assert main(["run", "tiny"], places) == 0
    assert _counted(places) == EVERY
    assert sum("failed" in line for line in read_lines(places.lines("tiny"))) == 2
    assert main(["table", "tiny"], places) == 0
    assert "2 failed: round 1 made weights" in places.readme.read_text()


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("killed.py")), str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(("moment", "number"), [("cell", 1), ("cell", 3), ("line", 1), ("line", 3)])
def test_killed_nothing_is_lost_and_nothing_is_there_twice(
    places: Places, tmp_path: Path, moment: str, number: int
) -> None:
    assert _start(tmp_path, moment, str(number)).wait(300) == -signal.SIGKILL
    path = places.lines("tiny")
    is_torn = bool(path.read_bytes().rpartition(b"\n")[2])
    assert is_torn == (moment == "line")
    before = read_lines(path)
    assert len(before) == number - 1
    assert main(["run", "tiny"], places) == 0
    assert read_lines(path)[: number - 1] == before
    assert _counted(places) == EVERY
    assert path.read_bytes().endswith(b"}\n")


def test_killed_from_outside_at_any_moment(places: Places, tmp_path: Path) -> None:
    process = _start(tmp_path, "never", "0")
    try:
        deadline = time.monotonic() + 300
        while not read_lines(places.lines("tiny")) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert main(["run", "tiny"], places) == 0
    assert _counted(places) == EVERY
