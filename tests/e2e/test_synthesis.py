# SPDX-License-Identifier: Apache-2.0
"""From raw sites to synthetic data to an adapter in one run, every stage in the ledgers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.cli.entry import main
from fedpeft.errors import BackboneError, ConfigError, DataError, RunDirectoryError
from fedpeft.flower.simulation import resume, simulate, synthesize
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.events import events_of
from fedpeft.privacy.ledger import show, verify
from fedpeft.synthesis.dataset import SyntheticDataset
from fedpeft.synthesis.writing import Writer
from fedpeft.testing import tiny_config

WITH_VOTES = ["synthesis.generator=pool", "synthesis.bins=8", "synthesis.size=40"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesis")
    config = tiny_config(folder, overrides=WITH_VOTES)
    simulate(config, folder / "run")
    return folder / "run"


def test_votes_and_steps_are_in_one_commitment(run: Path) -> None:
    for site in ("site0", "site1"):
        report = verify(run / "ledger" / f"{site}.sqlite")
        assert report.ok, report.problems
        (committed,) = report.runs
        assert committed.stage == "synthesis+training"
        assert committed.steps_spent == 2
        assert 0.9 * 8.0 < committed.epsilon_committed <= 8.0
        kinds = [row.event.kind for row in show(run / "ledger" / f"{site}.sqlite")]
        assert kinds == ["gaussian", "poisson-gaussian", "poisson-gaussian"]


def test_the_result_counts_the_votes(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    report = verify(run / "ledger" / "site0.sqlite")
    assert result["epsilon"] == 8.0
    assert result["epsilon_spent"] == pytest.approx(report.epsilon_spent, rel=1e-3)
    assert result["rounds_completed"] == 2


def test_the_data_are_certified_and_public(run: Path) -> None:
    data = SyntheticDataset.read(run / "synthetic")
    assert len(data.rows) == 40
    assert set(data.certificate.contributors) == {"site0", "site1"}
    private = (run.parent / "site0.jsonl").read_text()
    assert not any(row.instruction in private for row in data.rows)


def test_verify_checks_the_certificate(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "verify", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate"] == []
    path = run / "synthetic" / "certificate.json"
    good = path.read_text()
    try:
        for edit, named in ((("run:", "ran:"), "no released"), (('"epsilon": ', '"epsilon": 0'), "")):
            text = good.replace(':site0:vote"', ':site9:vote"') if named else good.replace(*edit)
            path.write_text(text)
            assert main(["ledger", "verify", str(run)]) == 1
            assert "WRONG" in capsys.readouterr().out
    finally:
        path.write_text(good)


def test_the_plan_says_what_each_stage_costs(tmp_path: Path) -> None:
    with_votes = make_plan(tiny_config(tmp_path, overrides=WITH_VOTES))
    without = make_plan(tiny_config(tmp_path))
    stages = with_votes.to_json()["stages"]
    assert stages["synthesis"]["epsilon"] <= 0.8 * 1.001
    assert stages["training"]["epsilon"] < without.to_json()["stages"]["training"]["epsilon"] <= 8.0
    assert stages["synthesis"]["training_noise"] == pytest.approx(
        with_votes.sites[0].noise_multiplier / without.sites[0].noise_multiplier
    )
    together = epsilon(events_of(with_votes.schedule(with_votes.sites[0], "run")), 1e-5)
    assert 7.9 < together <= 8.0
    assert any("synthesis.bins = 8" in warning for warning in with_votes.warnings)
    assert "synthesis" not in without.to_json()["stages"]


def test_the_stage_alone_and_then_the_rest(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=WITH_VOTES)
    data = synthesize(config, tmp_path / "run")
    ledger = tmp_path / "run" / "ledger" / "site0.sqlite"
    assert [row.event.kind for row in show(ledger)] == ["gaussian"]
    result = resume(tmp_path / "run")
    assert result["rounds_completed"] == 2
    assert SyntheticDataset.read(tmp_path / "run" / "synthetic") == data
    assert len(show(ledger)) == 3
    assert verify(ledger).ok


def test_an_edited_configuration_is_not_resumed(tmp_path: Path) -> None:
    synthesize(tiny_config(tmp_path, overrides=WITH_VOTES), tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    path.write_text(path.read_text().replace("epsilon = 8.0", "epsilon = 9.0"))
    with pytest.raises(RunDirectoryError, match="was changed"):
        resume(tmp_path / "run")


def test_public_data_cost_nothing(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["synthesis.generator=public", "synthesis.size=20"])
    data = synthesize(config, tmp_path / "run")
    assert data.certificate.epsilon == 0
    assert show(tmp_path / "run" / "ledger" / "site0.sqlite") == []
    assert make_plan(config).to_json()["stages"].keys() == {"training"}


def fluent(self: Writer, vector: object, task: str, count: int, seed: int) -> list[str]:
    """What a backbone writes that knows how; a random one writes no pairs."""
    return [f"Question: {task} {seed} {i}\nAnswer: yes" for i in range(count)]


def test_candidates_that_the_backbone_writes_join_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "write", fluent)
    overrides = ["synthesis.generator=public", "synthesis.size=12000", "synthesis.written=6"]
    data = synthesize(tiny_config(tmp_path, overrides=overrides), tmp_path / "run")
    own = [row for row in data.rows if row.lineage.startswith("backbone/")]
    assert {row.instruction for row in own} == {f"0 {i}" for i in range(6)}
    assert data.certificate.epsilon == 0


def test_a_backbone_that_cannot_write_is_told_before_a_site_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(self: Writer) -> None:
        raise BackboneError("model.backbone: cannot write texts (test)")

    overrides = [*WITH_VOTES, "synthesis.written=5"]
    config = tiny_config(tmp_path, overrides=overrides)
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "check", cannot)
        with pytest.raises(BackboneError, match="cannot write"):
            synthesize(config, tmp_path / "run")
    monkeypatch.setattr(Writer, "write", lambda _s, _v, _t, count, _n: ["no pair"] * count)
    with pytest.raises(DataError, match=r"synthesis.written = 5: the backbone wrote no pair"):
        synthesize(config, tmp_path / "again")
    for out in ("run", "again"):
        assert show(tmp_path / out / "ledger" / "site0.sqlite") == []


def test_without_a_generator_there_is_nothing_to_make(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"synthesis\.generator"):
        synthesize(tiny_config(tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("synthesis.generator=magic", "synthesis.generator"),
        ("synthesis.path=site0.jsonl", "synthesis.path"),
        ("synthesis.epsilon_share=1", "synthesis.epsilon_share"),
        ("synthesis.written=5", "synthesis.written = 5: has no use without generator"),
        ('synthesis.tasks=["sea", "hill", "sea"]', 'synthesis.tasks: names "sea" twice'),
    ],
)
def test_bad_keys_are_told(tmp_path: Path, override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        tiny_config(tmp_path, overrides=[override])


def test_blocks_are_chosen_by_the_rows_that_the_run_made(tmp_path: Path) -> None:
    """Raw sites, votes, synthetic rows, the choice of blocks, rounds: one command."""
    overrides = ['method="dp-selft"', *WITH_VOTES, "selection.candidates=4", "selection.steps=1"]
    overrides += ["selection.seeds=2", "selection.perturbations=1", "selection.batch=2"]
    result = simulate(tiny_config(tmp_path, overrides=overrides), tmp_path / "run")
    assert result["rounds_completed"] == 2
    assert (tmp_path / "run" / "selection.json").is_file()
    report = verify(tmp_path / "run" / "ledger" / "site0.sqlite")
    assert report.ok, report.problems
    assert report.runs[0].stage == "synthesis+training"
    assert len(report.runs) == 1
