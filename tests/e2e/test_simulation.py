# SPDX-License-Identifier: Apache-2.0
"""A whole run in one process: its files, its guarantee, its resumption, and what must not move."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from peft import PeftModel

from fedpeft.checkpoint import load
from fedpeft.errors import DataError, RunDirectoryError, UserError
from fedpeft.flower.simulation import resume, simulate
from fedpeft.privacy.ledger import verify_all
from fedpeft.privacy.policy import Policy
from fedpeft.site import site as site_module
from fedpeft.testing import run_tiny_federation, tiny_backbone, tiny_config, write_records
from fedpeft.workspace import Workspace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run_tiny_federation(folder, rounds=3)
    return folder / "run"


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {"adapter", "checkpoint", "config.toml", "ledger", "result.json", "rounds.jsonl"}
    result = json.loads((finished / "result.json").read_text())
    assert result["stopped_because"] == "completed"
    assert result["rounds_completed"] == 3 == len((finished / "rounds.jsonl").read_text().splitlines())
    assert result["epsilon"] == 8.0 >= result["epsilon_spent"] > 7.9
    assert result["epsilon_by_site"] == {"site0": 8.0, "site1": 8.0}
    assert result["guarantee"].startswith("Everything a site sends in this run is (8, 1e-05)-differentially")
    assert result["ledger_scope"] == "run"
    assert set(result["metrics"]["after"]) == {"ranking_accuracy", "token_accuracy", "perplexity"}
    assert set(result["seconds"]) >= {"total", "train", "aggregate", "accounting"}
    assert result["bytes_up"] == result["bytes_down"] == 3 * 2 * 4 * result["trainable_parameters"]


def test_the_ledgers_hold_every_release_and_verify(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    reports = verify_all(finished / "ledger")
    assert all(report.ok for report in reports)
    for report in reports:
        assert report.num_events == report.num_releases == 3
        spent = result["epsilon_spent_by_site"][report.identity]
        assert report.epsilon_spent == pytest.approx(spent, abs=1e-3)
    assert (finished / "ledger" / "site0.sqlite").stat().st_mode & 0o077 == 0


def test_the_adapter_is_the_state_and_loads_in_plain_peft(finished: Path) -> None:
    state = load(finished / "checkpoint").average.astype(np.float32)
    assert np.abs(state).max() > 0
    plain = PeftModel.from_pretrained(tiny_backbone().model, str(finished / "adapter"))
    factors = [p.detach().numpy().ravel() for n, p in plain.named_parameters() if "lora_B" in n]
    np.testing.assert_array_equal(np.sort(np.concatenate(factors)), np.sort(state))


def test_a_seed_repeats_a_run_and_forfeits_the_guarantee(tmp_path: Path) -> None:
    states = []
    for name in ("one", "two"):
        result = run_tiny_federation(tmp_path / name, overrides=["run.seed=5"])
        assert result["guarantee"].startswith("none: seeded")
        (run,) = verify_all(tmp_path / name / "run" / "ledger")[0].runs
        assert run.run_id.startswith("seeded-")
        assert result["epsilon"] == 8.0
        states.append(load(tmp_path / name / "run" / "checkpoint").adapter)
    np.testing.assert_array_equal(*states)


def test_without_a_seed_no_two_runs_agree(tmp_path: Path, finished: Path) -> None:
    run_tiny_federation(tmp_path, rounds=3)
    other = load(tmp_path / "run" / "checkpoint").adapter
    assert not np.isclose(load(finished / "checkpoint").adapter, other).any()


def test_epsilon_does_not_move_with_learning_rate_labels_or_modules(tmp_path: Path, finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    changed = run_tiny_federation(
        tmp_path,
        rounds=3,
        overrides=["training.learning_rate=0.01", "adapter.rank=1", 'privacy.clipping="flat"'],
    )
    for key in ("epsilon", "epsilon_spent", "noise_multiplier_by_site"):
        assert changed[key] == result[key]


@pytest.mark.parametrize(
    "override",
    ["privacy.epsilon=4", "privacy.delta=1e-6", "training.sampling_rate=0.25", "federation.rounds=6"],
)
def test_the_multiplier_moves_with_what_it_depends_on(tmp_path: Path, override: str) -> None:
    from fedpeft.plan import make_plan

    plain, changed = (
        make_plan(tiny_config(tmp_path, overrides=o)).sites[0].noise_multiplier for o in ([], [override])
    )
    assert plain != changed


class _KilledError(BaseException):
    """Stands for the process's death: nothing in the product catches it."""


@pytest.mark.parametrize("reserve", [0, 1])
def test_killed_between_charge_and_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve: int
) -> None:
    """The charge stands, the round is asked again, and only a reserve pays for the round that is lost."""
    config = tiny_config(tmp_path, rounds=3, overrides=[f"privacy.crash_reserve={reserve}"])
    original, calls = site_module.local_update, []

    def killed_at_the_fourth(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise _KilledError
        return original(*arguments)

    monkeypatch.setattr(site_module, "local_update", killed_at_the_fourth)
    with pytest.raises(_KilledError):
        simulate(config, tmp_path / "run")
    result = resume(tmp_path / "run")
    assert len(calls) == (7 if reserve else 6)  # site0 of round 2 was answered from its ledger
    assert result["rounds_completed"] == (3 if reserve else 2)
    assert result["stopped_because"] == ("completed" if reserve else "budget")
    reports = verify_all(tmp_path / "run" / "ledger")
    assert all(report.ok for report in reports)
    assert sum(report.num_events - report.num_releases for report in reports) == 1
    assert result["epsilon_spent"] <= 8.0


def test_resumed_equals_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["run.seed=3", 'federation.server_optimizer="momentum"']
    run_tiny_federation(tmp_path / "whole", rounds=4, overrides=overrides)
    config = tiny_config(tmp_path / "parts", rounds=4, overrides=overrides)
    original, calls = site_module.Site.train, []

    def killed_before_work(self: site_module.Site, request: object) -> object:
        calls.append(1)
        if len(calls) == 5:
            raise _KilledError
        return original(self, request)

    monkeypatch.setattr(site_module.Site, "train", killed_before_work)
    with pytest.raises(_KilledError):
        simulate(config, tmp_path / "parts" / "run")
    resumed = resume(tmp_path / "parts" / "run")
    whole, parts = (load(tmp_path / name / "run" / "checkpoint") for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole.adapter, parts.adapter)
    assert resumed["rounds_completed"] == 4
    assert resumed["metrics"]["before"] is not None


def test_a_finished_run_and_a_folder_that_is_none_are_not_resumed(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(RunDirectoryError, match="complete"):
        resume(finished)
    with pytest.raises(RunDirectoryError, match="not a run"):
        resume(tmp_path)


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(RunDirectoryError, match="exists already"):
        simulate(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_bad_data_leave_no_folder_and_spend_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    with (tmp_path / "site1.jsonl").open("a") as file:
        file.write('{"instruction": "no response"}\n')
    with pytest.raises(DataError, match=r"site1\.jsonl:41.*response"):
        simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_problems_of_all_parts_are_told_together(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path,
        overrides=['adapter.modules=["nothing"]', f'evaluation.path="{tmp_path / "absent.jsonl"}"'],
    )
    (tmp_path / "site0.jsonl").write_bytes(b"\xff\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    with pytest.raises(UserError) as refused:
        simulate(config, tmp_path / "run")
    text = "\n".join(refused.value.problems)
    assert all(
        part in text for part in ("adapter.modules", "exists already", "site0.jsonl", "UTF-8", "absent.jsonl")
    )


def test_a_full_disk_is_told_before_a_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(RunDirectoryError, match="1 MB are free"):
        simulate(tiny_config(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_site_without_units_answers_with_noise(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "site1.jsonl").write_text("")
    result = simulate(config, tmp_path / "run")
    assert result["rounds_completed"] == 2
    with sqlite3.connect(tmp_path / "run" / "ledger" / "site1.sqlite") as ledger:
        (events,) = ledger.execute("SELECT count(*) FROM events").fetchone()
    assert events == 2


def test_units_of_several_records(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=['privacy.unit="owner"'])
    for i in range(2):
        write_records(tmp_path / f"site{i}.jsonl", 40, seed=i, units=10)
    result = simulate(config, tmp_path / "run")
    assert result["unit"] == "owner"
    assert "one value of 'owner'" in result["guarantee"]


WEIGHTS = ["privacy.task_weights={colour=0.25, size=1.0, place=1.0, use=0.01}"]


def test_a_run_with_task_weights_reports_the_epsilon_of_each(tmp_path: Path) -> None:
    result = run_tiny_federation(tmp_path, overrides=WEIGHTS)
    by_task = result["epsilon_by_task"]
    assert (
        by_task["use"] < by_task["colour"] < by_task["size"] == by_task["place"] <= result["epsilon"] == 8.0
    )
    assert by_task["use"] < 1 < by_task["colour"]
    assert result["epsilon_spent"] > 7.9
    assert all(report.ok for report in verify_all(tmp_path / "run" / "ledger"))


def test_a_unit_of_several_tasks_leaves_no_folder_and_spends_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=[*WEIGHTS, 'privacy.unit="owner"'])
    write_records(tmp_path / "site0.jsonl", 40, seed=0, units=40)
    write_records(tmp_path / "site1.jsonl", 40, seed=1, units=10)
    with pytest.raises(DataError, match="site1: a unit has records of several tasks"):
        simulate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


PRIVATE = [
    "evaluation.private=true", "evaluation.private_before=true", "evaluation.epsilon_share=0.3",
    "data.held_out=0.3", "evaluation.public=false", "evaluation.records=0",
    'evaluation.labels=["red", "green", "blue", "small"]',
]  # fmt: skip


def test_private_evaluation_is_paid_for_with_the_steps(tmp_path: Path) -> None:
    result = run_tiny_federation(tmp_path, overrides=PRIVATE)
    private = result["metrics"]["private"]
    for name in ("before", "after"):
        accuracy = private[name]["ranking_accuracy"]
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert set(private[name]["by_site"]) == {"site0", "site1"}
        assert private[name]["without"] == {}
    assert 7.9 < result["epsilon_spent"] <= result["epsilon"] == 8.0
    assert "Counts of right held-out units" in result["guarantee"]
    reports = verify_all(tmp_path / "run" / "ledger")
    assert all(report.ok for report in reports)
    for report in reports:
        assert report.num_events == report.num_releases == 2 + 2
        assert report.epsilon_spent == pytest.approx(
            result["epsilon_spent_by_site"][report.identity], abs=1e-3
        )


def test_a_plan_with_private_evaluation_costs_the_same_and_adds_less_noise_than_two_runs(
    tmp_path: Path,
) -> None:
    from fedpeft.plan import make_plan

    plain, private = (make_plan(tiny_config(tmp_path / str(len(o)), overrides=o)) for o in ([], PRIVATE))
    less = make_plan(tiny_config(tmp_path / "less", overrides=["privacy.epsilon=5.6"]))
    noise = [plan.sites[0].noise_multiplier for plan in (plain, private, less)]
    assert noise[0] < noise[1] < noise[2]
    assert private.epsilon == plain.epsilon == 8.0
    assert private.to_json()["stages"]["evaluation"]["epsilon"] == pytest.approx(2.4, abs=0.01)


def test_a_site_that_forbids_private_evaluation_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Workspace._policy

    def strict(workspace: Workspace, name: str) -> Policy:
        terms = policy(workspace, name)
        return terms.model_copy(update={"stages": ("training",)}) if name == "site1" else terms

    monkeypatch.setattr(Workspace, "_policy", strict)
    result = run_tiny_federation(tmp_path, overrides=PRIVATE)
    assert result["rounds_completed"] == 2
    assert result["left_out"] == {}
    assert result["metrics"]["private"]["after"]["without"] == {"site1": "policy"}
    assert set(result["metrics"]["private"]["after"]["by_site"]) == {"site0"}
    assert all(report.ok for report in verify_all(tmp_path / "run" / "ledger"))


def test_undeclared_evaluation_is_marked(tmp_path: Path) -> None:
    result = run_tiny_federation(tmp_path, overrides=["evaluation.public=false"])
    assert result["metrics"]["privacy"].startswith("NOT PRIVATE")
    assert "NOT PRIVATE" in result["guarantee"]
    assert result["share_truncated"] == {}


def test_no_statistic_of_private_training_records_is_written(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    assert set(result["share_truncated"]) == {"evaluation"}


@pytest.mark.parametrize("edit", ["epsilon = 8.0>epsilon = 0.5", "seed = 5>"])
def test_a_run_is_not_resumed_under_another_configuration(tmp_path: Path, edit: str) -> None:
    """The guarantee is made from the configuration, so one may not be swapped under a run."""
    run_tiny_federation(tmp_path, overrides=["run.seed=5"])
    (tmp_path / "run" / "result.json").unlink()
    path = tmp_path / "run" / "config.toml"
    old, new = edit.split(">")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunDirectoryError, match="was changed since the run began"):
        resume(tmp_path / "run")


def test_private_files_are_the_owners(finished: Path) -> None:
    assert (finished / "checkpoint" / "state.ckpt").stat().st_mode & 0o077 == 0


def test_the_backbone_is_given_back(tmp_path: Path, finished: Path) -> None:
    from fedpeft.backbone.loading import load_backbone

    config = tiny_config(tmp_path)
    simulate(config, tmp_path / "run")
    names = {type(m).__name__ for m in load_backbone(config.model).model.modules()}
    assert not any(name.startswith("_") for name in names)  # adapted modules are private classes


@pytest.mark.parametrize(
    ("allocation", "schedule"), [("instability", "step-decay"), ("kl", "lr-matched"), ("anadp", "constant")]
)
def test_allocation_and_schedule_change_the_run_and_not_the_guarantee(
    tmp_path: Path, finished: Path, allocation: str, schedule: str
) -> None:
    overrides = [
        f"privacy.allocation={allocation}", f"privacy.schedule={schedule}", "privacy.drop_after=3",
        "training.learning_rate_decay=0.8", "federation.layer_smoothing=1.0",
        "federation.server_optimizer=adam", "federation.server_learning_rate=0.1",
        f"privacy.clipping={'quantile' if allocation == 'kl' else 'automatic'}",
    ]  # fmt: skip
    result = run_tiny_federation(tmp_path, rounds=4, overrides=overrides)
    usual = json.loads((finished / "result.json").read_text())
    for key in ("epsilon", "delta", "unit", "guarantee"):
        assert result[key] == usual[key]
    assert 7.9 < result["epsilon_spent"] <= 8.0
    state = load(tmp_path / "run" / "checkpoint")
    assert len(set(state.scales)) > 1, "nothing was learnt"
    assert ("clip_norm" in state.statistics) == (allocation == "kl")
    multipliers = {event.noise_multiplier for event in state.events["site0"]}
    assert len(multipliers) == (1 if schedule == "constant" else 4)
    reports = verify_all(tmp_path / "run" / "ledger")
    assert all(report.ok for report in reports)
    for report in reports:
        assert report.epsilon_spent == pytest.approx(
            result["epsilon_spent_by_site"][report.identity], abs=1e-3
        )
