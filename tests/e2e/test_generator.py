# SPDX-License-Identifier: Apache-2.0
"""Rounds that train a generator: paid with the run, certified, gone on with, left out where forbidden."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fedpeft import generation
from fedpeft.checkpoint import load
from fedpeft.cli.entry import main
from fedpeft.config import RunConfig, load_config
from fedpeft.errors import BackboneError, ConfigError, DataError, MechanismError, Refusal, RunDirectoryError
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.flower.simulation import resume, simulate, synthesize
from fedpeft.layer_choice import regime_of
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.events import events_of
from fedpeft.privacy.ledger import show, verify
from fedpeft.privacy.policy import Policy
from fedpeft.selection.regime import noise_of
from fedpeft.site.site import Site
from fedpeft.synthesis.dataset import SyntheticDataset
from fedpeft.synthesis.generator import INSTEAD, SILENT, UNTRAINED
from fedpeft.synthesis.writing import Writer
from fedpeft.testing import tiny_config
from fedpeft.training.local import Units
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest
from fedpeft.workspace import Workspace

GENERATOR = [
    "synthesis.generator=generator", "synthesis.rounds=3", "synthesis.size=12", 'synthesis.tasks=["colour"]',
    "synthesis.epsilon_share=0.5",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_config(tmp_path, num_records=20)
    return tmp_path


@pytest.fixture
def fluent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random backbone writes no pairs; here it does."""

    def write(self: Writer, vector: object, task: str, count: int, seed: int) -> list[str]:
        return [f"Question: {task} {'la' * (1 + seed)} {'ho' * i}\nAnswer: yes" for i in range(count)]

    monkeypatch.setattr(Writer, "write", write)


def test_rounds_of_the_generator_come_first_in_one_commitment(
    folder: Path, fluent: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(folder / "run.toml", GENERATOR)
    result = simulate(config, folder / "run")
    plan = make_plan(config)
    assert result["rounds_completed"] == 2
    data = SyntheticDataset.read(folder / "run" / "synthetic")
    assert len(data.rows) == 12
    for site in ("site0", "site1"):
        ledger = folder / "run" / "ledger" / f"{site}.sqlite"
        report = verify(ledger)
        assert report.ok, report.problems
        assert [run.stage for run in report.runs] == ["synthesis+training"]
        assert report.runs[0].steps_spent == 5
        multipliers = [row.event.noise_multiplier for row in show(ledger)]
        first, then = plan.sites[0].before[0][0], plan.sites[0].noise_multiplier
        assert multipliers == [first] * 3 + [then] * 2
        assert first != then
        assert result["epsilon_spent_by_site"][site] == pytest.approx(report.epsilon_spent, rel=1e-3)
        contribution = data.certificate.contributors[site]
        assert [name.rpartition(":")[2] for name in contribution.request_ids] == ["1", "2", "3"]
        assert contribution.event.steps == 3
    assert data.certificate.epsilon == pytest.approx(0.5 * 8, rel=0.01)
    assert epsilon(events_of(plan.schedule(plan.sites[0], "run")), 1e-5) <= 8.0
    assert plan.to_json()["stages"]["synthesis"]["epsilon"] <= 4.0
    without = make_plan(load_config(folder / "run.toml"))
    ratio = plan.sites[0].noise_multiplier / without.sites[0].noise_multiplier
    assert plan.to_json()["stages"]["synthesis"]["training_noise"] == pytest.approx(ratio)
    assert ratio > 1
    assert main(["plan", str(folder / "run.toml"), *(f"--set={one}" for one in GENERATOR)]) == 0
    assert "by itself; makes the training noise" in " ".join(capsys.readouterr().out.split())
    assert main(["ledger", "verify", str(folder / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["certificate"] == []
    path = folder / "run" / "synthetic" / "certificate.json"
    path.write_text(path.read_text().replace(":site0:2", ":site0:5"))
    assert main(["ledger", "verify", str(folder / "run")]) == 1
    assert "no released" in capsys.readouterr().out


def test_the_generator_moves_and_training_begins_at_zero(folder: Path, fluent: None) -> None:
    synthesize(load_config(folder / "run.toml", GENERATOR), folder / "run")
    state = load(folder / "run" / "synthetic" / generation.FOLDER / CHECKPOINT_FOLDER)
    assert state is not None
    assert state.rounds_completed == 3
    assert state.adapter.any()
    assert resume(folder / "run")["rounds_completed"] == 2
    assert (load(folder / "run" / CHECKPOINT_FOLDER).adapter != state.adapter).any()


def interrupt_after_two(config: RunConfig, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin the run and leave it when the generator has had two of its three rounds."""
    run_rounds = generation.run_rounds

    def interrupted(*given: object, **more: object):
        def stop(state) -> None:
            if state.rounds_completed == 2:
                raise KeyboardInterrupt

        return run_rounds(*given, on_round=stop, **more)

    with monkeypatch.context() as patch:
        patch.setattr(generation, "run_rounds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(config, out)


def test_an_interrupted_generator_goes_on_where_it_was(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two(load_config(folder / "run.toml", GENERATOR), folder / "run", monkeypatch)
    assert resume(folder / "run")["rounds_completed"] == 2
    ledger = folder / "run" / "ledger" / "site0.sqlite"
    assert len(show(ledger)) == 5  # nothing was paid twice
    data = SyntheticDataset.read(folder / "run" / "synthetic")
    assert len(data.certificate.contributors["site0"].request_ids) == 3


def test_rounds_that_another_run_paid_for_are_refused(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder / "run.toml", GENERATOR)
    for name in ("run", "other"):
        interrupt_after_two(config, folder / name, monkeypatch)
    place = f"synthetic/{generation.FOLDER}"
    shutil.rmtree(folder / "run" / place)
    shutil.copytree(folder / "other" / place, folder / "run" / place)
    before = len(show(folder / "run" / "ledger" / "site0.sqlite"))
    with pytest.raises(RunDirectoryError, match="which paid for none of it; move it away"):
        resume(folder / "run")
    assert len(show(folder / "run" / "ledger" / "site0.sqlite")) == before


@pytest.mark.parametrize("gone", [("site1",), ("site0", "site1")])
def test_who_is_gone_after_an_interruption_is_named_and_counted_all_the_same(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    """The rows depend on what was released before."""
    config = load_config(folder / "run.toml", [*GENERATOR, "federation.min_sites=1"])
    interrupt_after_two(config, folder / "run", monkeypatch)
    facts = Site.facts

    def away(site: Site) -> SiteFacts:
        if site.policy.identity in gone:
            raise Refusal(RefusalCode.UNAVAILABLE, "test")
        return facts(site)

    monkeypatch.setattr(Site, "facts", away)
    result = resume(folder / "run")
    certificate = SyntheticDataset.read(folder / "run" / "synthetic").certificate
    parts = {site: part.request_ids for site, part in certificate.contributors.items()}
    assert {site: len(ids) for site, ids in parts.items()} == {
        site: 2 if site in gone else 3 for site in ("site0", "site1")
    }
    assert certificate.left_out == {}
    assert certificate.note == ""
    spent = result["epsilon_spent_by_site"]["site1"]
    assert spent == pytest.approx(epsilon([certificate.contributors["site1"].event], 1e-5))
    assert spent > 0
    assert main(["ledger", "verify", str(folder / "run")]) == 0


def test_who_comes_after_an_interruption_is_left_out_and_trains(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder / "run.toml", [*GENERATOR, "federation.min_sites=1"])
    commit, away = Site.commit, {"site1"}

    def flaky(site: Site, schedule: Schedule) -> None:
        if site.policy.identity in away:
            raise Refusal(RefusalCode.UNAVAILABLE, "test")
        commit(site, schedule)

    monkeypatch.setattr(Site, "commit", flaky)
    interrupt_after_two(config, folder / "run", monkeypatch)
    away.clear()
    resume(folder / "run")
    certificate = SyntheticDataset.read(folder / "run" / "synthetic").certificate
    assert list(certificate.contributors) == ["site0"]
    assert list(certificate.left_out) == ["site1"]
    assert len(show(folder / "run" / "ledger" / "site1.sqlite")) == 2


@pytest.mark.parametrize(("strict_site", "other"), [("site0", "site1"), ("site1", "site0")])
def test_a_site_that_forbids_synthesis_trains_without_it(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch, strict_site: str, other: str
) -> None:
    policy_of = Workspace._policy

    def strict(workspace: Workspace, name: str) -> Policy:
        policy = policy_of(workspace, name)
        return policy.model_copy(update={"stages": ("training",)}) if name == strict_site else policy

    monkeypatch.setattr(Workspace, "_policy", strict)
    result = simulate(load_config(folder / "run.toml", GENERATOR), folder / "run")
    certificate = SyntheticDataset.read(folder / "run" / "synthetic").certificate
    assert (set(certificate.contributors), certificate.left_out) == ({other}, {strict_site: "policy"})
    assert result["rounds_completed"] == 2
    charges = {site: len(show(folder / "run" / "ledger" / f"{site}.sqlite")) for site in (other, strict_site)}
    assert charges == {other: 5, strict_site: 2}


def test_nobody_who_trains_leaves_the_pool(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_of = Workspace._policy
    training = {"stages": ("training",)}
    monkeypatch.setattr(Workspace, "_policy", lambda w, name: policy_of(w, name).model_copy(update=training))
    data = synthesize(load_config(folder / "run.toml", GENERATOR), folder / "run")
    assert data.certificate.note == UNTRAINED + INSTEAD
    assert data.certificate.epsilon == 0
    assert len(data.rows) == 12


def test_a_backbone_that_writes_nonsense_leaves_the_pool_and_keeps_the_bill(folder: Path) -> None:
    data = synthesize(load_config(folder / "run.toml", GENERATOR), folder / "run")
    assert data.certificate.note == SILENT + INSTEAD
    assert set(data.certificate.contributors) == {"site0", "site1"}


def test_a_backbone_that_cannot_write_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(self: Writer) -> None:
        raise BackboneError("model.backbone: cannot write texts (test)")

    monkeypatch.setattr(Writer, "check", cannot)
    with pytest.raises(BackboneError, match="cannot write"):
        synthesize(load_config(folder / "run.toml", GENERATOR), folder / "run")
    assert show(folder / "run" / "ledger" / "site0.sqlite") == []


def test_no_room_for_a_pair_and_a_bad_pool_are_told_before_a_site_is_asked(folder: Path) -> None:
    (folder / "pool.jsonl").write_text("")
    for number, (override, error, says) in enumerate(
        (
            ("data.max_length=45", ConfigError, "at least 16 are needed"),
            ("synthesis.path=pool.jsonl", DataError, r"synthesis\.path"),
        )
    ):
        out = folder / f"run{number}"
        with pytest.raises(error, match=says):
            synthesize(load_config(folder / "run.toml", [*GENERATOR, override]), out)
        assert show(out / "ledger" / "site0.sqlite") == []


def test_a_round_that_a_site_missed_is_missing_in_its_part(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A charge without a release: the round is paid for, and named by nobody."""
    release = Site._release

    def failing(site: Site, request: TrainRequest, units: Units) -> PrivateUpdate:
        if (site.policy.identity, request.round_number) == ("site1", 2):
            raise MechanismError("test")
        return release(site, request, units)

    monkeypatch.setattr(Site, "_release", failing)
    result = simulate(load_config(folder / "run.toml", GENERATOR), folder / "run")
    certificate = SyntheticDataset.read(folder / "run" / "synthetic").certificate
    parts = {site: part.request_ids for site, part in certificate.contributors.items()}
    assert [len(ids) for ids in parts.values()] == [3, 2]
    assert [name.rpartition(":")[2] for name in parts["site1"]] == ["1", "3"]
    assert certificate.contributors["site1"].event.steps == 2
    assert result["rounds_completed"] == 2
    assert len(show(folder / "run" / "ledger" / "site1.sqlite")) == 5
    assert main(["ledger", "verify", str(folder / "run")]) == 0


def test_crashes_are_paid_from_a_reserve_whichever_steps_have_less_noise(
    folder: Path, fluent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the generator's rounds, whose noise is the smaller here, and all rounds are still served."""
    overrides = [*GENERATOR[:-1], "synthesis.epsilon_share=0.75", "privacy.crash_reserve=1"]
    config = load_config(folder / "run.toml", overrides)
    (site, _), plan = make_plan(config).sites, make_plan(config)
    least = site.before[0][0]
    assert least < min(multiplier for multiplier, _ in site.schedule[:-1])
    assert site.schedule[-1] == (least, 1)
    assert site.noise_multiplier == site.schedule[0][0]
    assert 7.8 < epsilon(events_of(plan.schedule(site, "run")), 1e-5) <= 8.0
    other = make_plan(load_config(folder / "run.toml", [*GENERATOR[:-1], "privacy.crash_reserve=1"])).sites[0]
    assert other.before[0][0] > other.noise_multiplier
    assert len(other.schedule) == 1  # the reserve is among the rounds' own steps
    release, crashed = Site._release, []

    def crashing(site: Site, request: TrainRequest, units: Units) -> PrivateUpdate:
        if request.round_number == 2 and not crashed:
            crashed.append(request)
            raise KeyboardInterrupt
        return release(site, request, units)

    monkeypatch.setattr(Site, "_release", crashing)
    with pytest.raises(KeyboardInterrupt):
        simulate(config, folder / "run")
    result = resume(folder / "run")
    assert (result["rounds_completed"], result["stopped_because"]) == (2, "completed")
    certificate = SyntheticDataset.read(folder / "run" / "synthetic").certificate
    assert {len(part.request_ids) for part in certificate.contributors.values()} == {3}
    charged = [len(show(folder / "run" / "ledger" / f"site{i}.sqlite")) for i in range(2)]
    assert sorted(charged) == [5, 6]
    for i in range(2):
        report = verify(folder / "run" / "ledger" / f"site{i}.sqlite")
        assert report.ok, report.problems
    assert main(["ledger", "verify", str(folder / "run")]) == 0


def test_trials_have_the_noise_of_the_rounds_not_of_the_generator(folder: Path) -> None:
    config = load_config(folder / "run.toml", GENERATOR)
    (site, _), plan = make_plan(config).sites, make_plan(config)
    regime = regime_of(config, plan)
    assert regime.noise == (noise_of([site.noise_multiplier] * 2, [site.expected_batch] * 2),) * 2
    assert site.noise_multiplier != site.before[0][0]


def test_the_plan_warns_where_noise_drowns_what_could_be_learnt(folder: Path) -> None:
    def warnings(*overrides: str) -> str:
        return " ".join(make_plan(load_config(folder / "run.toml", [*GENERATOR, *overrides])).warnings)

    assert 'synthesis.generator = "generator": its 3 steps have at most' in warnings()
    sites = [f"sites.site{i}.declared_units=1000000" for i in range(2)]
    assert "its 3 steps" not in warnings(*sites)


def test_weights_of_tasks_do_not_go_together(folder: Path) -> None:
    weights = "privacy.task_weights={colour=0.5,size=1.0,place=1.0,use=1.0}"
    with pytest.raises(ConfigError, match="weights of tasks"):
        load_config(folder / "run.toml", [*GENERATOR, weights])


def test_an_organization_trains_a_generator_that_its_own_file_does_not_name(folder: Path) -> None:
    """Its policy says whether, and its list of public tasks what a record's text may name."""
    config = load_config(folder / "run.toml", ['synthesis.tasks=["colour"]'])
    with Workspace(config, folder / "run") as workspace:
        policy = workspace._policy("site0")
        assert workspace._pairs("site0", policy) is None
        allowed = policy.model_copy(update={"stages": ("synthesis", "training")})
        pairs = workspace._pairs("site0", allowed)
        data, decode = workspace.data["site0"], workspace.backbone.tokenizer.decode
    assert pairs is not None
    assert pairs.keys() == data.units.keys()
    for unit, examples in pairs.items():
        for example, record in zip(examples, data.records[unit], strict=True):
            prompt, text = (
                decode(example.ids[: example.num_prompt]),
                decode(example.ids[example.num_prompt :]),
            )
            named = "about colour " if record.task == "colour" else ""
            assert f"Write a question {named}and its answer." in prompt
            assert text.startswith(f"Question: {record.instruction}"[:20])
