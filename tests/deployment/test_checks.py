# SPDX-License-Identifier: Apache-2.0
"""``fedpeft site check``: a line for each thing, and for each thing to mend how."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft.cli import main
from fedpeft.deployment import checks
from fedpeft.deployment.site_file import SiteFile, load_site_file
from fedpeft.privacy.ledger import Ledger
from fedpeft.types import Schedule

MakeSite = Callable[..., Path]


@pytest.fixture
def check(make_site: MakeSite) -> Callable[..., dict[bool, list[str]]]:
    """``check(...)``: the lines of what is good and what is not, of a site with changed tables."""

    def check(
        prepare: Callable[[SiteFile], None] = lambda file: None, **changes: dict
    ) -> dict[bool, list[str]]:
        file = load_site_file(make_site(**changes))
        prepare(file)
        findings = checks.check_site(file, one_user_trial=True)
        return {good: [f.text for f in findings if f.is_good is good] for good in (True, False)}

    return check


def test_a_site_that_is_ready(check) -> None:
    found = check()
    assert found[False] == []
    text = "\n".join(found[True])
    assert "40 records of 40 units; 40 units are declared" in text
    assert "nothing spent" in text
    assert "nobody listens yet" in text
    assert "epsilon 8 and delta 1e-05 for life" in text


def test_checking_makes_no_ledger(check, tmp_path: Path) -> None:
    check()
    assert not (tmp_path / "ledger").exists()


def _spend(file: SiteFile) -> None:
    file.ledger.parent.mkdir()
    ledger = Ledger.open(file.ledger, file.policy)
    ledger.commit(Schedule.constant("run", 2.0, 0.5, 4, "record"))
    ledger.close()


def test_what_is_left_and_when_nothing_is(check) -> None:
    left = [line for line in check(_spend)[True] if line.startswith("budget")]
    assert "are left for the next run" in left[0]


def test_an_empty_budget(check) -> None:
    (line,) = check(_spend, policy={"sub_budgets": [8.0]})[False]
    assert line.startswith("budget: epsilon 0.0000")
    assert "agree on a policy" in line


def test_a_ledger_that_is_none(check) -> None:
    def damage(file: SiteFile) -> None:
        file.ledger.parent.mkdir()
        file.ledger.write_bytes(b"not a ledger at all" * 100)

    assert any("ledger" in line for line in check(damage)[False])


def test_bad_data_are_told_with_their_line(check, tmp_path: Path) -> None:
    def damage(file: SiteFile) -> None:
        with (tmp_path / "site0.jsonl").open("a") as records:
            records.write('{"instruction": "no response"}\n')

    lines = check(damage)[False]
    assert lines
    assert all("site0.jsonl:41" in line for line in lines)


def test_absent_data(check, tmp_path: Path) -> None:
    (line,) = check(lambda file: (tmp_path / "site0.jsonl").unlink())[False]
    assert "no such file" in line


def test_few_units_and_stages(check) -> None:
    found = check(policy={"declared_units": 4000, "stages": []})
    assert any("little but noise" in line for line in found[True])
    assert any('stages lacks "training"' in line for line in found[False])


@pytest.mark.parametrize(
    ("today", "word"),
    [("2998-01-01", None), ("2999-12-15", "less than 30 days"), ("3000-01-01", "has passed")],
)
def test_the_policys_last_day(make_site: MakeSite, today: str, word: str | None) -> None:
    file = load_site_file(make_site())
    lines = [f.text for f in checks._policy(file, datetime.date.fromisoformat(today))]
    assert len(lines) == (1 if word is None else 2)
    assert word is None or word in lines[0]


def test_untested_versions_are_told(check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "untested_versions", lambda: {"flwr": "1.99 (tested: 1.41.0)"})
    (line,) = [line for line in check()[True] if line.startswith("versions")]
    assert "flwr 1.99 (tested: 1.41.0)" in line
    assert "pip install --constraint" in line


def test_a_coordinator_that_is_not_there_is_told(check, tmp_path: Path) -> None:
    lines = check(site={"superlink": "127.0.0.1:1", "certificate": "absent.crt"})[False]
    assert any("ask the coordinator for ca.crt" in line for line in lines)
    assert any("127.0.0.1:1: does not answer" in line for line in lines)


def test_a_policy_that_is_wrong_ends_the_check_with_its_lines(make_site: MakeSite, capsys) -> None:
    assert main(["site", "check", str(make_site(policy={"epsilon": -1.0}))]) == 2
    assert "policy.toml: epsilon = -1.0" in capsys.readouterr().err


def test_modes_are_looked_at(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "guard_problems", lambda file, *, one_user_trial: ["policy.toml: chmod it"])
    findings = checks.check_site(load_site_file(make_site()))
    assert [f.text for f in findings if not f.is_good] == ["policy.toml: chmod it"]
