# SPDX-License-Identifier: Apache-2.0
"""What a run may reach, played on public rows under the noise of each epsilon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft import tuning
from fedpeft.cli import main
from fedpeft.config import RunConfig, load_config, option_names
from fedpeft.errors import ConfigError
from fedpeft.forecast import at_epsilon, blocks_of, forecast, make_trials
from fedpeft.layer_choice import SplitRows, read_split, regime_of, rows_to_play_on
from fedpeft.plan import make_plan
from fedpeft.selection.trials import Outcome, Trials
from fedpeft.testing import tiny_backbone, tiny_config
from fedpeft.tuning import ALLOCATION, KNOBS, changed, tune
from tests.public_rows import write_public

QUICK = (
    "selection.seeds=2",
    "selection.perturbations=1",
    "federation.rounds=6",
    "training.learning_rate=3.0",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forecast")
    tiny_config(path, num_records=400)
    write_public(path / "public.jsonl", 32)
    for site in path.glob("site*.jsonl"):
        site.unlink()  # nothing here reads a site
    return path


def config_of(folder: Path, *overrides: str) -> RunConfig:
    return load_config(folder / "run.toml", [*QUICK, 'selection.data="public.jsonl"', *overrides])


def rows_of(config: RunConfig) -> SplitRows:
    rows = read_split(config)
    assert rows is not None
    return rows


@pytest.fixture(scope="module")
def found(folder: Path) -> dict:
    config = config_of(folder)
    return forecast(config, rows_of(config), (0.05, 8.0))


class TestForecast:
    def test_noise_falls_with_epsilon_and_the_forecast_with_noise(self, found: dict) -> None:
        low, high = found["epsilons"]
        assert low["noise_multiplier"] > high["noise_multiplier"]
        assert high["loss"] + 2 * high["loss_standard_error"] < low["loss"]
        assert high["loss"] < found["before"]["loss"]

    def test_figures_have_intervals_over_seeds_and_rows(self, found: dict) -> None:
        for line in found["epsilons"]:
            assert len(line["losses"]) == found["seeds"] == 2
            assert line["loss_standard_error"] > 0
            for name in ("perplexity", "token_accuracy", "ranking_accuracy"):
                assert {"value", "low", "high", "spread"} <= line["figures"][name].keys()

    def test_it_is_of_rows_that_did_not_train(self, found: dict) -> None:
        assert found["records"] == found["rows"]["validation"]
        assert found["rows"]["train"] + found["rows"]["validation"] == 32

    def test_it_repeats(self, folder: Path, found: dict) -> None:
        config = config_of(folder)
        again = forecast(config, rows_of(config), (8.0,))
        assert again["epsilons"][0]["losses"] == found["epsilons"][1]["losses"]


def test_another_epsilon_is_no_more_than_a_sites_own(folder: Path) -> None:
    config = config_of(folder, "privacy.epsilon=4", "sites.site0.epsilon=2")
    assert [site.epsilon for site in at_epsilon(config, 8.0).sites] == [2.0, None]
    assert [site.epsilon for site in at_epsilon(config, 1.0).sites] == [1.0, None]
    assert at_epsilon(config, 8.0).privacy.epsilon == 8.0


def test_the_command_prints_four_epsilons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for override in QUICK for word in ("--set", override)]
    arguments = [
        "plan",
        str(folder / "run.toml"),
        *sets,
        "--forecast",
        "--data",
        str(folder / "public.jsonl"),
    ]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line["epsilon"] for line in found["forecast"]["epsilons"]] == [1.0, 2.0, 4.0, 8.0]
    assert found["epsilon"] == 8.0
    assert main(arguments) == 0
    assert "which are not the sites'" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--forecast"], "--data: missing"), (["--data", "x.jsonl"], "has no use without")],
)
def test_rows_and_their_use_go_together(
    folder: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(folder / "run.toml"), *arguments]) == 2
    assert says in capsys.readouterr().err


class TestTuning:
    def test_a_rate_that_moves_nothing_is_raised(self, folder: Path) -> None:
        config = config_of(folder, "training.learning_rate=0.02")
        found = tune(config, rows_of(config))
        assert found["chosen"]["training.learning_rate"] > 0.02
        assert f"training.learning_rate={found['chosen']['training.learning_rate']!r}" in found["set"]
        keys = [tried["key"] for tried in found["tried"]]
        assert keys[0] == "as configured"
        assert set(keys[1:]) == {knob.key for knob in KNOBS}
        best = min(found["tried"], key=lambda tried: tried["loss"])
        assert best["loss"] < found["tried"][0]["loss"]

    def test_where_nothing_matters_nothing_is_changed(self, folder: Path) -> None:
        config = config_of(folder, "training.learning_rate=1e-9")
        assert tune(config, rows_of(config))["set"] == []

    def test_an_allocation_is_tried_as_it_begins(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        knob = next(knob for knob in KNOBS if knob.key == ALLOCATION)
        monkeypatch.setattr(tuning, "KNOBS", (knob,))
        better = {"uniform": 5.0, "kl": 1.0}

        def run(self: Trials, layers: tuple[int, ...], effort: object) -> Outcome:
            name = "uniform" if self._allocation is None else self._allocation.allocation
            return Outcome((better.get(name, 9.0), better.get(name, 9.0) + 0.1), 1)

        monkeypatch.setattr(Trials, "run", run)
        config = config_of(folder)
        found = tune(config, rows_of(config))
        assert found["set"] == ['privacy.allocation="kl"', "selection.allocation_start=true"]
        assert [tried["value"] for tried in found["tried"][1:]] == [
            name for name in option_names(ALLOCATION) if name != "uniform"
        ]
        load_config(folder / "run.toml", [*found["set"], 'selection.data="public.jsonl"'])
        started = config_of(folder, 'privacy.allocation="kl"', "privacy.allocation_start=there.json")
        assert len(tune(started, rows_of(started))["tried"]) == 1

    def test_a_trial_spreads_noise_as_the_run_would_begin(self, folder: Path) -> None:
        """With the run's own lambda2 too, which makes another rule of the same name."""
        begins = (
            'privacy.allocation="kl"',
            "selection.allocation_start=true",
            'selection.data="public.jsonl"',
        )
        backbone, found = tiny_backbone(), []
        for overrides in ((), begins, (*begins, "privacy.lambda2=0")):
            config = config_of(folder, *overrides)
            plan, rows = make_plan(config), rows_of(config)
            trials = make_trials(config, regime_of(config, plan), rows, backbone)
            with trials.descent(blocks_of(plan), trials.regime) as descent:
                found.append(descent.scales)
        assert found[0] == ()
        assert len(set(found[1])) > 1
        assert found[1] != found[2]

    def test_rounds_are_tried_under_the_noise_that_they_ask_for(self, folder: Path) -> None:
        knob = next(knob for knob in KNOBS if knob.key == "federation.rounds")
        config = config_of(folder, "privacy.epsilon=1")
        noises = []
        for change in ({}, *knob.changes(config)):
            some = changed(config, change)
            regime = regime_of(some, make_plan(some))
            assert regime.rounds == change.get(knob.key, config.federation.rounds)
            noises.append(regime.noise[0])
        assert noises[1] < noises[0] < noises[2]


def test_rows_are_needed(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--data: missing"):
        rows_to_play_on(load_config(folder / "run.toml"), None)
    assert rows_to_play_on(config_of(folder), None).split.train
