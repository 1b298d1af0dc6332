# SPDX-License-Identifier: Apache-2.0
"""The commands that run something, as a program calls them: exit codes, JSON, files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import tomli_w

from fedpeft.cli import main
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.testing import tiny_config, write_records
from fedpeft.types import PrivacyEvent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's TOML and the run itself, made by the command."""
    path = tmp_path_factory.mktemp("cli")
    tiny_config(path)
    assert main(["simulate", str(path / "run.toml"), "--out", str(path / "run"), "--json"]) == 0
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_plan_prices_what_it_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, plan = call(capsys, "plan", folder / "run.toml")
    assert code == 0
    assert set(plan) >= {
        "epsilon", "delta", "unit", "trainable_parameters", "trainable_percent", "stages", "sites",
        "warnings", "guarantee",
    }  # fmt: skip
    for site in plan["sites"]:
        event = PrivacyEvent(
            "poisson-gaussian", site["noise_multiplier"], site["sampling_rate"], site["steps"], plan["unit"]
        )
        assert site["epsilon"] == pytest.approx(epsilon_pld([event], plan["delta"]))
        assert site["epsilon"] <= plan["epsilon"]
    assert plan["stages"]["training"]["epsilon"] <= plan["epsilon"]


def test_plan_reads_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_config(tmp_path)
    (tmp_path / "site0.jsonl").unlink()
    code, plan = call(capsys, "plan", tmp_path / "run.toml")
    assert code == 0
    assert any("site0.jsonl" in warning for warning in plan["warnings"])


def test_a_site_below_the_runs_epsilon_has_more_noise(tmp_path: Path) -> None:
    plan = make_plan(tiny_config(tmp_path, overrides=["sites.site1.epsilon=2"]))
    one, two = plan.sites
    assert two.noise_multiplier > one.noise_multiplier
    assert two.epsilon <= 2
    assert plan.epsilon == 8


def test_ledger_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = call(capsys, "ledger", "verify", folder / "run" / "ledger")
    assert (code, report["ok"], len(report["ledgers"])) == (0, True, 2)
    code, shown = call(capsys, "ledger", "show", folder / "run" / "ledger" / "site0.sqlite")
    assert code == 0
    assert len(shown["ledgers"][0]["events"]) == 2
    assert main(["ledger", "verify", str(folder / "absent")]) == 2


def test_a_ledger_is_held_to_a_policy(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = folder / "run" / "ledger" / "site0.sqlite"
    delta = call(capsys, "ledger", "verify", ledger)[1]["ledgers"][0]["delta"]
    terms = f'unit = "record"\ndeclared_units = 20\nepsilon = 8.0\ndelta = {delta!r}\nexpires = 9999-12-31\n'
    policy = tmp_path / "policy.toml"
    policy.write_text(f'identity = "site0"\n{terms}', encoding="utf-8")
    code, report = call(capsys, "ledger", "verify", ledger, "--policy", policy)
    assert code == 0
    assert 0 <= report["ledgers"][0]["left"]["epsilon"] < 0.1  # the run was calibrated to all of it
    policy.write_text(f'identity = "elsewhere"\n{terms}', encoding="utf-8")
    code, report = call(capsys, "ledger", "verify", ledger, "--policy", policy)
    assert code == 1
    assert "identity" in report["ledgers"][0]["problems"][0]
    policy.write_text(terms, encoding="utf-8")
    assert main(["ledger", "verify", str(ledger), "--policy", str(policy)]) == 2


def test_an_edited_ledger_fails_verification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    tiny_config(tmp_path)
    assert main(["simulate", str(tmp_path / "run.toml"), "--out", str(tmp_path / "run"), "--json"]) == 0
    with sqlite3.connect(tmp_path / "run" / "ledger" / "site0.sqlite") as ledger:
        triggers = ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            ledger.execute(f"DROP TRIGGER {name}")
        ledger.execute("UPDATE events SET event = replace(event, '\"steps\":1', '\"steps\":2')")
        ledger.execute("UPDATE events SET event = replace(event, '\"steps\": 1', '\"steps\": 2')")
    code, report = call(capsys, "ledger", "verify", tmp_path / "run" / "ledger")
    assert (code, report["ok"]) == (1, False)


def test_evaluate_an_adapter(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "test.jsonl", 8, seed=9)
    code, found = call(
        capsys, "evaluate", folder / "run" / "adapter", "--data", tmp_path / "test.jsonl", "--task", "task"
    )
    assert code == 0
    assert found["records"] == 8
    assert found["difference"]["perplexity"]["value"] != 0


def test_evaluate_makes_prompts_as_a_run_does(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tomllib.loads((folder / "run.toml").read_text("utf-8"))
    run["data"] |= {"instruction": "text", "response": "label", "prompt": "Review: {text}\nMood:"}
    run["data"] |= {"chat_template": False, "end_of_turn": False}
    run["evaluation"]["labels"] = ["good", "bad"]
    (tmp_path / "labels.toml").write_text(tomli_w.dumps(run), "utf-8")
    rows = [{"id": str(i), "task": "mood", "text": f"thing {i}", "label": "good"} for i in range(6)]
    data = tmp_path / "test.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ["evaluate", folder / "run" / "adapter", "--data", data, "--config", tmp_path / "labels.toml"]
    code, found = call(capsys, *command)
    # Two labels are too few to rank without the run's list of them.
    assert (code, found["before"]["ranking_accuracy"]["value"] is None) == (0, False)
    data.write_text(data.read_text("utf-8").replace('"label": "good"', '"label": "odd"', 1), "utf-8")
    assert main([*map(str, command), "--json"]) == 2
    assert "evaluation.labels: 1 of 6" in capsys.readouterr().err


def test_bad_input_is_a_line_and_a_two(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(folder / "run.toml")
    for arguments, word in (
        (["simulate", run, "--out", str(folder / "run")], "exists already"),
        (["simulate", run, "--set", "privacy.epsilon=-1"], "privacy.epsilon"),
        (["resume", str(tmp_path)], "not a run"),
        (["resume", str(folder / "run")], "complete"),
        (["evaluate", str(tmp_path), "--data", run], "adapter_config.json"),
        (["plan", str(tmp_path / "absent.toml")], "absent.toml"),
        (["plan", run, "--set", 'adapter.modules=["q_prj"]'], "did you mean 'q_proj'"),
        (["doctor", "--backbone", str(tmp_path)], ""),
    ):
        capsys.readouterr()
        code = main(arguments)
        output = capsys.readouterr()
        assert code == (1 if arguments[0] == "doctor" else 2), arguments
        assert word in output.err
        assert "Traceback" not in output.err


def test_doctor_checks_a_backbone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = call(capsys, "doctor", "--backbone", folder / "backbone")
    assert (code, report["healthy"], report["problems"]) == (0, True, [])
    assert report["segments"] == 14


AT_TWO = ("--set", "privacy.epsilon=2", "--set", "privacy.delta=1e-6", "--set", "run.seed=3")


def test_audit_shows_bound_and_claim(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call(capsys, "audit", folder / "run.toml", "--canaries", 100, *AT_TWO)
    assert code == 0
    assert found["ok"] is True
    (audit,) = found["audits"]
    assert audit["sites"] == ["site0", "site1"]
    assert audit["bound"] <= audit["epsilon"] <= 2
    assert set(audit["power"]) == {"quarter", "none"}
    assert main(["audit", str(folder / "run.toml"), "--canaries", "100", *AT_TWO]) == 0
    assert "not refuted" in capsys.readouterr().out


def test_audit_fails_where_the_claim_is_broken(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a mechanism that draws a thousandth of the noise."""
    discrete = grid_module.discrete_gaussian
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda stream, n: discrete(stream, n) // 1000)
    code, found = call(capsys, "audit", folder / "run.toml", "--canaries", 1000, *AT_TWO)
    assert code == 1
    assert found["ok"] is False
    assert found["audits"][0]["bound"] > 2


def test_audit_refuses_a_claim_above_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(folder / "run.toml")]) == 2
    assert "privacy.epsilon = 8" in capsys.readouterr().err
