# SPDX-License-Identifier: Apache-2.0
"""The stage that chooses blocks: as a command, within a run, read again by one that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft import layer_choice, stages
from fedpeft.adapters import adapter as adapter_module
from fedpeft.baselines import run_baselines
from fedpeft.cli import main
from fedpeft.config import load_config
from fedpeft.errors import ConfigError, DataError, RunDirectoryError
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.flower import simulation
from fedpeft.folder import RESULT_FILE
from fedpeft.layer_choice import SELECTION_FILE, needed_rows, read_choice, regime_of, write_choice
from fedpeft.plan import make_plan
from fedpeft.run import conduct
from fedpeft.selection import vote
from fedpeft.shared import Shared
from fedpeft.testing import write_records
from fedpeft.workspace import Workspace
from tests.public_rows import tiny_run_and_public_rows, write_public  # noqa: F401 - a fixture

SELFT = (
    'selection.selector="selft"', 'selection.data="public.jsonl"', "selection.steps=2", "selection.seeds=2",
    "selection.candidates=4", "selection.perturbations=1",
)  # fmt: skip
LAST = ('selection.selector="last-k"', "selection.size=1")


def run_of(folder: Path, *overrides: str, out: str = "run") -> dict:
    return simulation.simulate(load_config(folder / "run.toml", overrides), folder / out)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_chooses_says_why_and_reads_no_site(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for site in folder.glob("site*.jsonl"):
        site.unlink()
    sets = [word for override in SELFT for word in ("--set", override)]
    found = said(capsys, "select", str(folder / "run.toml"), *sets, "--out", str(folder / "out"))
    assert found["layers"] in ([0], [1], [0, 1])
    assert found["why"]
    assert found["data"]["rows"] == found["data"]["train"] + found["data"]["validation"] == 16
    assert len(found["candidates"]) >= 2
    assert all(len(tried["losses"]) == 2 for tried in found["candidates"])
    assert json.loads((folder / "out" / SELECTION_FILE).read_text()) == found
    again = said(capsys, "select", str(folder / "run.toml"), *sets, "--data", str(folder / "public.jsonl"))
    assert [c["losses"] for c in again["candidates"]] == [c["losses"] for c in found["candidates"]]


def test_blocks_and_forecasts_are_tried_with_the_loss_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [word for override in SELFT for word in ("--set", override)]
    other = ["--set", "training.loss_q=0.7"]
    plain, noise_aware = (
        said(capsys, "select", str(folder / "run.toml"), *sets, *more, "--out", str(folder / name))
        for name, more in (("plain", []), ("aware", other))
    )
    # (1 - p^q) / q is at most 1 / q, and less than -log p.
    assert all(
        a["mean"] < b["mean"] for a, b in zip(noise_aware["candidates"], plain["candidates"], strict=True)
    )
    assert all(loss < 1 / 0.7 for c in noise_aware["candidates"] for loss in c["losses"])
    plain, noise_aware = (
        said(
            capsys, "plan", str(folder / "run.toml"), "--forecast", "--data", str(folder / "public.jsonl"),
            *sets, *more,
        )["forecast"]
        for more in ([], other)
    )  # fmt: skip
    assert noise_aware["before"]["loss"] == plain["before"]["loss"]  # a forecast is scored alike
    trained = zip(noise_aware["epsilons"], plain["epsilons"], strict=True)
    assert all(a["loss"] != b["loss"] for a, b in trained)


def test_the_command_shows_what_to_take_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for override in (*SELFT, *LAST[1:]) for word in ("--set", override)]
    assert main(["select", str(folder / "run.toml"), *sets]) == 0
    text = capsys.readouterr().out
    assert "adapter.layers=[" in text
    assert "standard error" in text


def test_a_run_trains_what_was_chosen(folder: Path) -> None:
    result = run_of(folder, *LAST)
    whole = run_of(folder, out="whole")
    assert 0 < result["trainable_parameters"] < whole["trainable_parameters"]
    assert result["selection"]["layers"] == [1]
    assert whole["selection"] is None
    assert result["noise_multiplier_by_site"] == whole["noise_multiplier_by_site"]
    assert result["seconds"]["select"] > 0
    exported = json.loads((folder / "run" / "adapter" / "adapter_config.json").read_text())
    assert not any(".0." in name for name in exported["target_modules"])


@pytest.mark.parametrize("selector", ["all", "last-k", "random-k", "rotating", "vote", "selft"])
def test_the_blocks_of_the_adapter_are_those_to_choose_from(folder: Path, selector: str) -> None:
    overrides = [*SELFT, f'selection.selector="{selector}"', "adapter.layers=[0]", "selection.size=1"]
    result = run_of(folder, *overrides)
    assert result["selection"]["layers"] == [0]
    found = json.loads((folder / "run" / SELECTION_FILE).read_text())
    assert found["blocks"] == 2
    assert {block for tried in found["candidates"] for block in tried["layers"]} <= {0}


def test_runs_of_one_process_choose_once_where_they_would_choose_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, shared = [], Shared()
    monkeypatch.setattr(
        simulation, "choose_layers", lambda *given: chosen.append(1) or layer_choice.choose_layers(*given)
    )
    ways = [[], ["run.seed=1"], ["selection.seed=1"], ["privacy.epsilon=4.0"], ["training.loss_q=0.5"]]
    for number, way in enumerate(ways):
        config = load_config(folder / "run.toml", [*SELFT, *way])
        simulation.simulate(config, folder / str(number), shared=shared)
    assert len(chosen) == len(ways) - 1
    first, again = (json.loads((folder / str(i) / SELECTION_FILE).read_text()) for i in (0, 1))
    assert first == again


def test_a_vote_chooses_among_blocks_of_which_some_have_no_part_of_the_adapter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = adapter_module.find_targets
    monkeypatch.setattr(
        adapter_module, "find_targets", lambda *given: tuple(t for t in found(*given) if t.block)
    )
    monkeypatch.setattr(vote, "differ", lambda _: True)
    result = run_of(folder, 'selection.selector="vote"', "selection.size=1")
    assert result["selection"]["layers"] == [1]


def test_a_run_that_was_killed_after_the_choice_goes_on_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "_run", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            run_of(folder, *SELFT)
    before = (folder / "run" / SELECTION_FILE).read_bytes()
    monkeypatch.setattr(simulation, "choose_layers", lambda *_: pytest.fail("chosen twice"))
    result = simulation.resume(folder / "run")
    assert result["stopped_because"] == "completed"
    assert (folder / "run" / SELECTION_FILE).read_bytes() == before
    assert result["selection"]["layers"] == json.loads(before)["layers"]


def test_a_run_that_was_killed_before_the_choice_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "write_choice", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            run_of(folder, *LAST)
    assert read_choice(folder / "run") is None
    assert simulation.resume(folder / "run")["selection"]["layers"] == [1]


def test_an_interrupted_run_goes_on_with_its_blocks(folder: Path) -> None:
    class Interrupting:
        def stage(self, label: str, done: int, total: int) -> None: ...
        def evaluating(self, label: str, done: int, total: int) -> None: ...
        def evaluated(self, rounds_done: int, metrics: object) -> None: ...
        def site_step(self, site: str, step: object) -> None: ...
        def round_done(self, number: int, *_: object) -> None:
            raise KeyboardInterrupt

    config = load_config(folder / "run.toml", LAST)
    assert simulation.simulate(config, folder / "run", Interrupting())["rounds_completed"] == 1
    assert simulation.resume(folder / "run")["rounds_completed"] == 2
    assert simulation.finished(folder / "run") is not None


def test_a_choice_that_is_edited_is_another_run(folder: Path) -> None:
    run_of(folder, *LAST)
    (folder / "run" / RESULT_FILE).unlink()
    write_choice(folder / "run", {**read_choice(folder / "run"), "layers": [0]})
    with pytest.raises(RunDirectoryError, match="was changed"):
        simulation.resume(folder / "run")


def test_baselines_train_the_same_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(folder, *LAST)
    monkeypatch.setattr(simulation, "choose_layers", lambda *_: pytest.fail("chosen twice"))
    beside = run_baselines(load_config(folder / "run.toml", LAST), folder / "run")
    assert not [entry for entry in beside["baselines"].values() if "failed" in entry]


def test_the_regime_is_that_of_the_plan(folder: Path) -> None:
    overrides = [
        'privacy.schedule="step-decay"', "training.local_steps=2", "training.learning_rate_decay=0.5",
        "privacy.clip_norm=3", "sites.site0.epsilon=2",
    ]  # fmt: skip
    config = load_config(folder / "run.toml", overrides)
    plan = make_plan(config)
    regime = regime_of(config, plan)
    assert regime.rounds == 2
    assert regime.learning_rates == (1.0, 0.5)
    assert regime.noise[1] < regime.noise[0]
    first = [site.schedule[0][0] for site in plan.sites]
    assert first[0] != first[1]
    assert regime.noise_deviation(0) == pytest.approx(3 * sum(m**2 for m in first) ** 0.5 / 12)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (['selection.selector="selfd"'], 'did you mean "selft"'),
        (['selection.selector="selft"'], "selection.data: missing"),
        ([*LAST, "selection.size=2", "adapter.layers=[1]"], "must be at most 1, the number of blocks that"),
        ([*SELFT, 'selection.data="absent.jsonl"'], "absent.jsonl"),
        (["selection.seeds=1"], "at least 2"),
        ([*SELFT, 'selection.lineage="origin"'], r"'origin' \(selection.lineage\) is in no row"),
        (['selection.selector="last-k"', "selection.size=3"], "must be at most 2"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_made(
    folder: Path, overrides: list[str], says: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        run_of(folder, *overrides)
    assert not (folder / "run").exists()


@pytest.mark.parametrize(("num_rows", "says"), [(3, "has 3 rows, at least 8"), (0, "holds no records")])
def test_too_few_rows_are_told_before_anything_is_made(folder: Path, num_rows: int, says: str) -> None:
    write_public(folder / "public.jsonl", num_rows)
    with pytest.raises(DataError, match=says):
        run_of(folder, *SELFT)
    assert not (folder / "run").exists()


def test_rows_of_one_lineage_are_told(folder: Path) -> None:
    write_records(folder / "public.jsonl", 20, units=1)
    with pytest.raises(DataError, match="one lineage"):
        run_of(folder, *SELFT, 'selection.lineage="owner"')


def test_the_preset_fills_in_what_is_not_given(folder: Path) -> None:
    assert load_config(folder / "run.toml", ['method="dp-selft"']).selection.selector == "selft"
    given = load_config(folder / "run.toml", ['method="dp-selft"', 'selection.selector="all"'])
    assert given.selection.selector == "all"
    assert given.synthesis.generator is None
    assert load_config(folder / "run.toml", ['method="dp-selft"']).synthesis.generator == "pool"
    public = load_config(folder / "run.toml", ['method="dp-selft"', 'selection.data="public.jsonl"'])
    assert public.synthesis.generator is None
    assert load_config(folder / "run.toml").selection.selector is None


def test_a_selector_is_needed_to_select(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"selection.selector: missing"):
        needed_rows(load_config(folder / "run.toml"))


@pytest.mark.parametrize("content", ["", "{}", '{"layers": []}', '{"layers": ["a"]}', "[]"])
def test_a_damaged_choice_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / SELECTION_FILE).write_text(content)
    with pytest.raises(RunDirectoryError, match="is damaged"):
        read_choice(tmp_path)


def test_a_run_whose_blocks_nobody_chose_is_not_conducted(folder: Path) -> None:
    config = load_config(folder / "run.toml", LAST)
    with (
        Workspace(config, folder / "run") as workspace,
        pytest.raises(ConfigError, match="nothing was chosen for this run"),
    ):
        conduct(workspace, make_plan(config), None)


def test_what_is_chosen_is_no_key_of_the_configuration(folder: Path) -> None:
    """The run's own file stays as it was given, so that what was asked and what was found stay apart."""
    run_of(folder, *LAST)
    kept = load_config(folder / "run" / "config.toml")
    assert kept.adapter.layers == "all"
    assert layer_choice.chosen(kept, folder / "run").adapter.layers == (1,)
    assert (folder / "run" / CHECKPOINT_FOLDER).is_dir()
