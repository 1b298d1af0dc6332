# SPDX-License-Identifier: Apache-2.0
"""What an experiment's file may say, and when two cells are the same."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fedpeft.config import json_schema, to_toml
from fedpeft.errors import ConfigError
from simulations.grid import experiment as experiment_module
from simulations.grid.__main__ import Places, main
from simulations.grid.experiment import Cell, experiment_schema, is_same, load_experiment, portable

EXPERIMENTS = Path(experiment_module.__file__).parents[1] / "experiments"
SHIPPED = sorted(path for path in EXPERIMENTS.glob("*") if path.suffix in (".toml", ".py"))


def _line(cell: Cell) -> dict:
    return {"id": cell.identity, "config": json.loads(json.dumps(portable(cell.config)))}


def _edit(places: Places, old: str, new: str) -> None:
    path = places.experiments / "tiny.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _cells(places: Places) -> tuple[Cell, ...]:
    return load_experiment("tiny", places.experiments).cells


def test_cells_come_seed_by_seed(places: Places) -> None:
    cells = _cells(places)
    assert [(c.name, c.seed) for c in cells] == [("plain", 1), ("flat", 1), ("plain", 2), ("flat", 2)]
    assert cells[1].config.privacy.clipping == "flat"
    assert {c.config.federation.rounds for c in cells} == {1}
    assert len({c.identity for c in cells}) == 4


def test_without_seeds_noise_is_the_operating_systems(places: Places) -> None:
    _edit(places, "seeds = [1, 2]\n", "")
    assert [c.seed for c in _cells(places)] == [None, None]


def test_a_python_file_says_the_same(places: Places) -> None:
    content = tomllib.loads((places.experiments / "tiny.toml").read_text())
    (places.experiments / "code.py").write_text(f"EXPERIMENT = {content!r}\n")
    python = load_experiment("code", places.experiments).cells
    assert [c.identity for c in _cells(places)] == [c.identity for c in python]


def test_identity_is_the_same_in_another_folder(places: Places, tmp_path: Path) -> None:
    """And no line of the results says where files lie."""
    first, moved = _cells(places), tmp_path / "moved"
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("moved"))
    text = (moved / "run.toml").read_text().replace(str(tmp_path), str(moved))
    (moved / "run.toml").write_text(text)
    second = load_experiment("tiny", moved / "experiments").cells
    assert [c.identity for c in first] == [c.identity for c in second]
    assert all(is_same(_line(a), b) for a, b in zip(first, second, strict=True))
    assert str(tmp_path) not in json.dumps([_line(c) for c in [*first, *second]])


@pytest.mark.parametrize(
    "change", ["privacy.epsilon=2", "adapter.rank=3", "sites.site0.declared_units=50", 'data.task="owner"']
)
def test_what_changes_a_result_changes_identity(places: Places, change: str) -> None:
    line = _line(_cells(places)[0])
    _edit(places, '"federation.rounds=1"', f"\"federation.rounds=1\", '{change}'")
    assert not is_same(line, _cells(places)[0])


@pytest.mark.parametrize("change", ["training.max_tokens=64", "run.threads=2", 'training.prefix_cache="off"'])
def test_what_is_only_the_machines_does_not(places: Places, change: str) -> None:
    line = _line(_cells(places)[0])
    _edit(places, '"federation.rounds=1"', f"\"federation.rounds=1\", '{change}'")
    assert is_same(line, _cells(places)[0])


def test_another_default_and_a_raised_version_make_lines_old(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = _cells(places)[0]
    line = _line(cell)
    line["config"]["privacy"]["clipping"] = "the default of another time"
    assert not is_same(line, cell)
    line = _line(cell)
    del line["config"]["privacy"]["clipping"]  # a key that is newer than the line
    assert is_same(line, cell)
    monkeypatch.setattr(experiment_module, "METHOD_VERSION", 10**6)
    assert not is_same(line, _cells(places)[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reference = "plain"', 'reference = "plane"', "reference: 'plane' is no cell"),
        ('name = "flat"', 'name = "plain"', "two are named 'plain'"),
        ("seeds = [1, 2]", "seeds = [1, 1]", "one is there twice"),
        ("seeds = [1, 2]", "seed = 1", "seed: "),
        ("federation.rounds=1", "evaluation.public=false", "must be true"),
        ("federation.rounds=1", "evaluation.records=0", "nothing would be found"),
        ('"flat"\'', '"flut"\'', "cell flat: .*privacy.clipping"),
        ("title =", "title", "not TOML"),
    ],
)
def test_what_is_wrong_is_told(places: Places, old: str, new: str, message: str) -> None:
    _edit(places, old, new)
    with pytest.raises(ConfigError, match=message):
        load_experiment("tiny", places.experiments)


def test_an_unknown_name_is_told_with_those_there_are(places: Places) -> None:
    with pytest.raises(ConfigError, match="choose one of tiny"):
        load_experiment("../tiny", places.experiments)


def schema_problems(tables: dict) -> list[str]:
    Draft202012Validator.check_schema(experiment_schema())
    return [error.message for error in Draft202012Validator(experiment_schema()).iter_errors(tables)]


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.suffix == ".toml"], ids=lambda path: path.stem)
def test_the_schema_accepts_what_ships(path: Path) -> None:
    assert schema_problems(tomllib.loads(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "change",
    [
        {"titel": "x"}, {"title": ""}, {"base": 3}, {"seeds": [-1]}, {"seeds": 1}, {"set": "a=1"},
        {"cells": []}, {"cells": [{"name": "a/b"}]}, {"cells": [{"kind": "run"}]}, {"minutes": 0},
        {"version": 0}, {"cells": [{"name": "a", "kind": "alone"}]}, {"metrics": [1]},
    ],
)  # fmt: skip
def test_the_schema_sees_what_is_wrong(places: Places, change: dict) -> None:
    tables = tomllib.loads((places.experiments / "tiny.toml").read_text())
    assert schema_problems(tables) == []
    assert schema_problems(tables | change)


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == experiment_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiments_are_sound(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPEFT_DATA_ROOT", str(tmp_path))
    experiment = load_experiment(path.stem, path.parent)
    assert experiment.table.minutes <= 8
    validator = Draft202012Validator(json_schema())
    for cell in experiment.cells:
        assert list(validator.iter_errors(tomllib.loads(to_toml(cell.config)))) == [], cell.name
    assert all(cell.config.evaluation.public for cell in experiment.cells)
