# SPDX-License-Identifier: Apache-2.0
"""Every method runs on a tiny federation, under one unit and one epsilon; references promise nothing."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fedpeft.baselines import check_baselines, run_method, scores_after, train_unprotected
from fedpeft.baselines.reference import SCORES_FOLDER
from fedpeft.config import RunConfig, load_config, option_names
from fedpeft.errors import ConfigError
from fedpeft.evaluation import summarize
from fedpeft.flower.simulation import resume, simulate
from fedpeft.methods.base import find
from fedpeft.reporter import Silence
from fedpeft.run import evaluate_state
from fedpeft.testing import tiny_config, write_records
from fedpeft.workspace import Workspace

METHODS = option_names("method")
SELECTS = ["selection.candidates=4", "selection.steps=1", 'selection.data="public.jsonl"']


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reference")
    tiny_config(made, num_records=24, rounds=1)
    write_records(made / "public.jsonl", 24, seed=9)
    return made


def config_of(folder: Path, method: str, *more: str) -> RunConfig:
    blocks = SELECTS if "selft" in method else ["adapter.layers=[1]"]
    overrides = [f'method="{method}"', "run.seed=3", "federation.rounds=2", "evaluation.records=4", *blocks]
    return load_config(folder / "run.toml", [*overrides, *more])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs(folder: Path, name: str) -> None:
    out = folder / name
    result = run_method(config_of(folder, name), out)
    assert result == json.loads((out / "result.json").read_text())
    assert result["method"] == result["method_sets"]["name"] == name
    assert result["rounds_completed"] == 2
    assert result["unit"] == "record"
    assert result["epsilon"] == (8.0 if find(name).has_epsilon else None)
    after = result["metrics"]["after"]["perplexity"]["value"]
    assert after != result["metrics"]["before"]["perplexity"]["value"]
    runs = scores_after(out)
    assert len(runs) == (2 if name == "local-only" else 1)
    mean = sum(summarize(run)["perplexity"]["value"] for run in runs) / len(runs)
    assert mean == pytest.approx(after)
    if find(name).how == "rounds":
        assert result["epsilon_spent"] <= 8.0
        assert (out / "adapter").is_dir()
        return
    assert result["guarantee"].startswith("none: ")
    assert "NOT PRIVATE" in result["watermark"]
    assert stat.S_IMODE((out / "result.json").stat().st_mode) == 0o600
    assert not (out / "adapter").exists()
    assert not list(out.rglob("*.sqlite"))


def test_each_site_alone_spends_the_runs_epsilon(folder: Path) -> None:
    result = json.loads((folder / "local-only" / "result.json").read_text())
    assert set(result["by_site"]) == {"site0", "site1"}
    assert {facts["epsilon"] for facts in result["by_site"].values()} == {8.0}
    assert {path.name for path in (folder / "local-only" / SCORES_FOLDER).iterdir()} == {"site0", "site1"}


def test_the_non_private_reference_is_the_baseline_of_that_name(folder: Path) -> None:
    config = config_of(folder, "non-private")
    with Workspace(config, folder / "by-hand") as workspace:
        state = train_unprotected(workspace, "federated")
        scores = evaluate_state(workspace, state, "after", Silence())
    assert scores is not None
    found = json.loads((folder / "non-private" / "result.json").read_text())["metrics"]["after"]
    assert found["perplexity"]["value"] == pytest.approx(summarize(scores)["perplexity"]["value"])


@pytest.mark.parametrize("name", [name for name in METHODS if find(name).how != "rounds"])
def test_the_round_loop_does_not_pass_a_reference_off_as_a_run(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f'method = "{name}": is a reference'):
        simulate(config_of(folder, name), folder / "refused")
    assert not (folder / "refused").exists()
    with pytest.raises(ConfigError, match="is a reference"):
        resume(folder / name)


def test_a_reference_has_no_baselines_beside_it(folder: Path) -> None:
    with pytest.raises(ConfigError, match='--baselines: method = "pooled" is a reference itself'):
        check_baselines(config_of(folder, "pooled"))


def test_nothing_to_evaluate_is_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(ConfigError, match="leaves nothing but figures; evaluate some"):
        run_method(config_of(folder, "pooled", "evaluation.records=0"), folder / "nothing")
    assert not (folder / "nothing").exists()
