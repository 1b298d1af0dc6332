# SPDX-License-Identifier: Apache-2.0
"""What surrounds the fault matrix: its processes end, its faults exist, its table says what was found."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from simulations.deployed.processes import Processes, TrialError, children, command_line
from simulations.faults import sick, table
from simulations.faults.__main__ import SCENARIOS, read_lines
from simulations.faults.sick import DEATHS, FAULTS, Fault
from simulations.faults.trial import Findings

_SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


def _has_ended(pid: int) -> bool:
    end = time.monotonic() + 20
    while command_line(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not command_line(pid)


def test_processes_and_all_that_they_started_end_with_the_trial(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        pid = processes.start("one", "sh", "-c", '"$@" & wait', "sh", *_SLEEPS)
        processes.wait(lambda: bool(children(pid, "time.sleep")), "the child")
        below = children(pid)
        assert processes.runs("one")
    assert all(_has_ended(one) for one in (pid, *below))


def test_a_supervised_process_that_is_killed_comes_back(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        pid = processes.start("one", "sh", "-c", 'while :; do "$@"; done', "sh", *_SLEEPS)
        processes.wait(lambda: bool(children(pid, "time.sleep")), "the child")
        (first,) = children(pid, "time.sleep")
        os.kill(first, 9)
        processes.wait(lambda: children(pid, "time.sleep") not in ([], [first]), "another child")


def test_a_process_that_ends_too_soon_is_told_with_what_it_wrote(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        processes.start("one", "sh", "-c", "echo why; exit 3")
        with pytest.raises(TrialError, match="ended\nwhy"):
            processes.wait_for("one", lambda: False, "what never comes")
        assert processes.end("one") == 3


def test_a_fault_comes_in_its_round_and_once(tmp_path: Path) -> None:
    fault = Fault(2, tmp_path / "marker")
    fault.now = 1
    assert not fault.is_due
    assert not fault.once()
    fault.now = 2
    assert fault.once()
    assert not fault.once()
    assert not Fault(2, tmp_path / "marker").once()  # in the process that comes after


def test_a_fault_may_come_again_rounds_later(tmp_path: Path) -> None:
    fault = Fault(2, tmp_path / "marker")
    first, third = fault.later(0), fault.later(2)
    came = []
    for number in (1, 2, 2, 3, 4, 4):
        fault.now = number
        came.append((first.once(), third.once()))
    assert came == [
        (False, False),
        (True, False),
        (False, False),
        (False, False),
        (False, True),
        (False, False),
    ]


def test_a_vote_and_a_count_are_known_by_their_stage(tmp_path: Path) -> None:
    vote = VoteRequest("run", "run:vote", 5.0, "words", 1, np.eye(2, dtype=np.float32), "")
    count = EvaluateRequest("run", "run:count", 5.0, "abc", np.zeros(3, dtype=np.float32), "")
    for number, request, other in ((0, vote, count), (-1, count, vote)):
        fault = Fault(number, tmp_path / "marker")
        sick._note(fault, other)
        assert not fault.is_due
        sick._note(fault, request)
        assert fault.is_due


def test_every_fault_of_a_site_is_in_the_matrix() -> None:
    one_run = {*DEATHS} if "site dies at each point in turn" in SCENARIOS else set()
    missing = [fault for fault in set(FAULTS) - one_run if not any(fault in name for name in SCENARIOS)]
    assert not missing


def test_the_table_has_a_row_for_each_line_and_names_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document, results = tmp_path / "deployment.md", tmp_path / "faults.jsonl"
    document.write_text("# Before\n\n## Faults, measured\n\nold\n\n## After\n\ntext\n")
    good = {"scenario": "a", "ok": True, "ended": "completed", "rounds": 3, "charges": 5, "releases": 4}
    bad = {"scenario": "b", "ok": False, "line": "clock: wrong", "node_says": ["no"], "problems": ["let in"]}
    results.write_text("".join(json.dumps(line) + "\n" for line in ({**good, "rounds": 1}, bad, good)))
    monkeypatch.setattr(table, "DOCUMENT", document)
    for _ in range(2):  # writing it again changes nothing
        table.write_table(read_lines(results), ["a", "b", "c"])
        text = document.read_text()
        assert "| a | completed after 3 rounds | 5 | 4 |  | as it must |" in text
        assert "| b | refused: `clock: wrong` (Flower by itself: `no`) |  |  |  | **let in** |" in text
        assert "Not run yet: c." in text
        assert "old" not in text
        assert text.startswith("# Before")
        assert text.endswith("## After\n\ntext\n")


def test_findings_hold_what_was_expected_otherwise() -> None:
    findings = Findings()
    findings.expect(True, "never")
    findings.expect(False, "it broke")
    assert findings.problems == ["it broke"]
