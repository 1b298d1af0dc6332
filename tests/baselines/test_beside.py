# SPDX-License-Identifier: Apache-2.0
"""Baselines beside a run: marked, paired, resumable, and nothing of the run's own guarantee is touched."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from fedpeft.baselines import beside, check_baselines, run_baselines
from fedpeft.baselines.alone import SCRATCH_FOLDER
from fedpeft.cli import main
from fedpeft.config import parse_config
from fedpeft.config.parties import alone
from fedpeft.errors import ConfigError, FedpeftError, RunDirectoryError
from fedpeft.flower.simulation import simulate
from fedpeft.plan import make_plan
from fedpeft.testing import tiny_config, write_records

NAMES = [
    "pooled without privacy",
    "federated without privacy",
    "site0 alone, private",
    "site1 alone, private",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with baselines, as the command makes it."""
    path = tmp_path_factory.mktemp("beside")
    tiny_config(path)
    assert (
        main(["simulate", str(path / "run.toml"), "--out", str(path / "run"), "--baselines", "--json"]) == 0
    )
    return path


def _read(folder: Path, name: str = "baselines.json") -> dict:
    return json.loads((folder / "run" / name).read_text())


def test_every_baseline_is_there_and_marked(folder: Path) -> None:
    found = _read(folder)
    assert list(found["baselines"]) == NAMES
    assert found["guarantee"] == "none: not private"
    assert found["watermark"].startswith("NOT PRIVATE")
    assert {entry["guarantee"] for entry in found["baselines"].values()} == {"none: not private"}
    assert (folder / "run" / "baselines.json").stat().st_mode & 0o077 == 0


def test_the_runs_own_result_is_as_without_them(folder: Path, tmp_path: Path) -> None:
    result = _read(folder, "result.json")
    plain = simulate(tiny_config(tmp_path), tmp_path / "run")
    assert result.keys() == plain.keys()
    assert result["guarantee"] == plain["guarantee"]
    assert "baseline" not in json.dumps(result)


def test_nothing_of_a_site_alone_is_left(folder: Path) -> None:
    assert not (folder / "run" / SCRATCH_FOLDER).exists()
    assert {path.name for path in (folder / "run" / "ledger").glob("*.sqlite")} == {
        "site0.sqlite",
        "site1.sqlite",
    }


def test_differences_are_paired_with_the_run(folder: Path) -> None:
    found = _read(folder)
    after = _read(folder, "result.json")["metrics"]["after"]
    assert found["run"] == after
    for entry in found["baselines"].values():
        for name, figure in entry["run_minus_baseline"].items():
            own, other = after[name]["value"], entry["metrics"][name]["value"]
            assert figure["value"] == (None if own is None else pytest.approx(own - other))
        assert entry["run_minus_baseline"]["perplexity"]["value"] != 0


def test_a_site_alone_has_the_runs_noise_and_steps(folder: Path) -> None:
    config = tiny_config(folder, overrides=["sites.site1.epsilon=2"])
    for whole, site in zip(make_plan(config).sites, config.sites, strict=True):
        (single,) = make_plan(alone(config, site.name)).sites
        assert single == whole
        assert alone(config, site.name).delta == config.delta


def test_delta_of_a_site_alone_is_the_runs(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["sites.site0.declared_units=4000"])
    config = config.model_copy(update={"privacy": config.privacy.model_copy(update={"delta": None})})
    assert alone(config, "site1").delta == config.delta == 4000**-1.1


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    simulate(config, tmp_path / "run")
    train, trained = beside.train_unprotected, []

    def interrupted_at_the_second(workspace: object, kind: str, *rest: object) -> object:
        trained.append(kind)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(workspace, kind, *rest)

    monkeypatch.setattr(beside, "train_unprotected", interrupted_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_baselines(config, tmp_path / "run")
    first = _read(tmp_path)["baselines"]
    assert list(first) == NAMES[:1]
    assert main(["resume", str(tmp_path / "run"), "--baselines", "--json"]) == 0
    assert trained == ["pooled", "federated", "federated"]
    assert list(_read(tmp_path)["baselines"]) == NAMES
    assert _read(tmp_path)["baselines"][NAMES[0]] == first[NAMES[0]]


def test_one_that_fails_is_told_and_the_others_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path)
    simulate(config, tmp_path / "run")

    def diverges(*_: object) -> object:
        raise FedpeftError("not finite")

    monkeypatch.setattr(beside, "train_unprotected", diverges)
    found = run_baselines(config, tmp_path / "run")["baselines"]
    assert found[NAMES[0]] == {"guarantee": "none: not private", "failed": "not finite"}
    assert "metrics" in found[NAMES[2]]


def test_people_see_the_heading(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(folder / "run"), "--baselines"]) == 0
    shown = capsys.readouterr().out
    assert "NOT PRIVATE - baselines" in shown
    own, _, rest = shown.partition("NOT PRIVATE - baselines")
    assert "alone" not in own
    assert "site0 alone" in " ".join(rest.split())


def test_what_cannot_be_compared_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config(tmp_path)
    arguments = ["--out", str(tmp_path / "run"), "--set", "evaluation.records=0", "--baselines"]
    assert main(["simulate", str(tmp_path / "run.toml"), *arguments]) == 2
    assert "evaluation.records" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="nothing to compare"):
        check_baselines(tiny_config(tmp_path, overrides=["evaluation.records=0"]))


def test_without_scores_or_with_other_data_it_is_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    simulate(config, tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="not those of the run"):
        run_baselines(
            config.model_copy(update={"data": config.data.model_copy(update={"held_out": 0.4})}),
            tmp_path / "run",
        )
    (tmp_path / "run" / "checkpoint" / "scores.json").unlink()
    with pytest.raises(RunDirectoryError, match="run it again"):
        run_baselines(config, tmp_path / "run")


def test_sites_that_share_one_table_are_alone_too(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    write_records(tmp_path / "all.jsonl", 80)
    raw = tomllib.loads((tmp_path / "run.toml").read_text())
    del raw["sites"]
    raw["data"]["partition"] = {"kind": "iid", "path": "all.jsonl", "parts": 2, "declared_units": 80}
    config = parse_config(raw, tmp_path)
    simulate(config, tmp_path / "run")
    found = run_baselines(config, tmp_path / "run")["baselines"]
    assert len(found) == 4
    assert not any("failed" in entry for entry in found.values())
