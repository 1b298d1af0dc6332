# SPDX-License-Identifier: Apache-2.0
"""Runs whose blocks the sites vote for, or that take turns: paid, bound to the run, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpeft import checkpoint, federation
from fedpeft.cli import main
from fedpeft.config import load_config
from fedpeft.errors import ConfigError, RunDirectoryError
from fedpeft.flower import simulation
from fedpeft.layer_choice import SELECTION_FILE
from fedpeft.plan import make_plan
from fedpeft.privacy.clipping import FROZEN_SCALE
from fedpeft.privacy.ledger import show, verify
from fedpeft.privacy.policy import Policy
from fedpeft.synthesis import begun as begun_file
from fedpeft.testing import tiny_config
from fedpeft.workspace import Workspace

VOTE = ['selection.selector="vote"', "selection.size=1"]
ROTATING = ['selection.selector="rotating"', "selection.size=1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_config(tmp_path, num_records=20)
    return tmp_path


def test_votes_are_paid_in_the_runs_commitment_and_its_blocks_trained(folder: Path) -> None:
    config = load_config(folder / "run.toml", VOTE)
    result = simulation.simulate(config, folder / "run")
    found = json.loads((folder / "run" / SELECTION_FILE).read_text())
    assert result["selection"]["layers"] == found["layers"]
    assert sorted(found["votes"]["contributors"]) == ["site0", "site1"]
    assert len(found["votes"]["counts"]) == 2
    for site in ("site0", "site1"):
        ledger = folder / "run" / "ledger" / f"{site}.sqlite"
        report = verify(ledger)
        assert report.ok, report.problems
        assert [run.stage for run in report.runs] == ["selection+training"]
        assert report.runs[0].epsilon_committed <= 8.0
        assert [row.event.kind for row in show(ledger)] == ["gaussian"] + ["poisson-gaussian"] * 2
        assert result["epsilon_spent_by_site"][site] == pytest.approx(report.epsilon_spent, rel=1e-3)
    stages = make_plan(config).to_json()["stages"]
    assert stages["selection"]["epsilon"] <= 0.8 * 1.001
    without = make_plan(load_config(folder / "run.toml"))
    ratio = make_plan(config).sites[0].noise_multiplier / without.sites[0].noise_multiplier
    assert stages["selection"]["training_noise"] == pytest.approx(ratio)
    assert ratio > 1


def test_it_is_chosen_alone_and_gone_on_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for override in VOTE for word in ("--set", override)]
    run = folder / "run"
    assert main(["select", str(folder / "run.toml"), *sets, "--out", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(show(run / "ledger" / "site0.sqlite")) == 1
    before = (run / SELECTION_FILE).read_bytes()
    result = simulation.resume(run)
    assert result["rounds_completed"] == 2
    assert result["selection"]["layers"] == found["layers"]
    assert (run / SELECTION_FILE).read_bytes() == before
    assert len(show(run / "ledger" / "site0.sqlite")) == 3


def test_a_run_that_was_killed_in_the_vote_asks_for_the_same_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder / "run.toml", VOTE)
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "keep_choice", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            simulation.simulate(config, folder / "run")
    assert simulation.resume(folder / "run")["rounds_completed"] == 2
    assert len(show(folder / "run" / "ledger" / "site0.sqlite")) == 3  # one vote, paid once


@pytest.mark.parametrize("overrides", [VOTE, ROTATING, ['selection.selector="last-k"', "selection.size=1"]])
@pytest.mark.parametrize("when", ["before the rounds", "after them"])
def test_an_edited_choice_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], when: str
) -> None:
    config = load_config(folder / "run.toml", overrides)
    run = folder / "run"
    if when == "before the rounds":
        monkeypatch.setattr(simulation, "_run", lambda *_: {})
    simulation.simulate(config, run)
    path = run / SELECTION_FILE
    good = path.read_text()
    (run / "result.json").unlink(missing_ok=True)
    for edit in (good.replace('"why": "', '"why": "because '), good.replace('"layers": [', '"layers":  [')):
        assert edit != good
        path.write_text(edit)
        with pytest.raises(RunDirectoryError, match="was changed since the run chose"):
            simulation.resume(run)
    path.write_text(good)
    monkeypatch.undo()
    assert simulation.resume(run)["rounds_completed"] == 2
    path.unlink()
    (run / "result.json").unlink()
    with pytest.raises(RunDirectoryError, match="was changed since the run chose"):
        simulation.resume(run)


def test_a_choice_of_another_run_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "_run", lambda *_: {})
    overrides = ["synthesis.generator=public", "synthesis.size=20"]
    simulation.simulate(load_config(folder / "run.toml", overrides), folder / "run")
    assert begun_file.load(folder / "run").choice == ""
    (folder / "run" / SELECTION_FILE).write_text('{"layers": [0]}')
    with pytest.raises(RunDirectoryError, match="or is not its own"):
        simulation.resume(folder / "run")


def test_a_site_that_forbids_votes_trains_without_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy_of = Workspace._policy

    def strict(workspace: Workspace, name: str) -> Policy:
        policy = policy_of(workspace, name)
        return policy.model_copy(update={"stages": ("training",)}) if name == "site1" else policy

    monkeypatch.setattr(Workspace, "_policy", strict)
    overrides = ["synthesis.generator=pool", "synthesis.bins=4", "synthesis.size=20", *VOTE]
    result = simulation.simulate(load_config(folder / "run.toml", overrides), folder / "run")
    found = json.loads((folder / "run" / SELECTION_FILE).read_text())
    assert found["votes"]["left_out"] == {"site1": "policy"}
    assert list(found["votes"]["contributors"]) == ["site0"]
    assert result["rounds_completed"] == 2
    kinds = {
        site: [row.event.kind for row in show(folder / "run" / "ledger" / f"{site}.sqlite")]
        for site in ("site0", "site1")
    }
    assert kinds["site1"] == ["poisson-gaussian"] * 2
    assert kinds["site0"] == ["gaussian"] * 2 + ["poisson-gaussian"] * 2


def test_blocks_take_turns_and_the_others_stay_where_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    keep = federation.save
    monkeypatch.setattr(federation, "save", lambda state, where: (states.append(state), keep(state, where)))
    overrides = [*ROTATING, "federation.rounds=4", 'federation.server_optimizer="sgd"']
    config = load_config(folder / "run.toml", overrides)
    simulation.simulate(config, folder / "run")
    rounds = json.loads((folder / "run" / SELECTION_FILE).read_text())["rounds"]
    assert sorted(rounds[0] + rounds[1]) == [0, 1]
    layout = make_plan(config).layout
    assert len(states) == 5
    for blocks, before, after in zip(rounds, states, states[1:], strict=False):
        for segment, scale in zip(layout.segments, before.scales, strict=True):
            moved = not np.array_equal(before.adapter[segment.slice], after.adapter[segment.slice])
            assert moved == (segment.block in blocks)
            assert (scale < FROZEN_SCALE) == (segment.block in blocks)


def test_turns_go_on_where_a_run_was_stopped(folder: Path) -> None:
    class Interrupting:
        def stage(self, *_: object) -> None: ...
        def evaluating(self, *_: object) -> None: ...
        def evaluated(self, *_: object) -> None: ...
        def site_step(self, *_: object) -> None: ...
        def round_done(self, number: int, *_: object) -> None:
            raise KeyboardInterrupt

    seeded = [*ROTATING, "federation.rounds=3", "run.seed=1"]
    config = load_config(folder / "run.toml", seeded)
    simulation.simulate(config, folder / "whole")
    simulation.simulate(config, folder / "run", Interrupting())
    simulation.resume(folder / "run")
    ends = [checkpoint.load(folder / name / federation.CHECKPOINT_FOLDER) for name in ("whole", "run")]
    assert np.array_equal(ends[0].adapter, ends[1].adapter)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([*ROTATING, "privacy.drop_after=2"], "wait for their turn"),
        ([*VOTE, "selection.size=3"], "must be at most 2"),
        ([*VOTE, "selection.epsilon_share=1"], r"selection\.epsilon_share"),
        ([*VOTE, "selection.vote_share=0"], r"selection\.vote_share"),
        ([*VOTE, "privacy.task_weights={colour=0.5,size=1.0,place=1.0,use=1.0}"], "weights of tasks"),
    ],
)
def test_what_cannot_go_together_is_told(folder: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        simulation.simulate(load_config(folder / "run.toml", overrides), folder / "run")
    assert not (folder / "run").exists()
