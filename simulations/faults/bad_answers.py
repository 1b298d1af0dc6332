# SPDX-License-Identifier: Apache-2.0
"""A site or node that hangs, is late, or sends what no honest site would, in the second of three rounds."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial

from simulations.deployed.federation import rounds_of
from simulations.faults.trial import Findings, Scenario, Trial

DEADLINE_S = 30.0
_SLACK_S = 5.0
_ANSWERS = {
    "hangs": "no answer",
    "answers late": "no answer",
    "answers garbage": "malformed",
    "answers another shape": "another length",
    "answers NaN": "not finite",
    "answers 100 times too much": "too large",
}
"""What the site does, and as what the round's line names it."""


def _answers(fault: str, named: str, trial: Trial, findings: Findings) -> None:
    os.environ["FEDPEFT_TRIAL_LATE_S"] = str(DEADLINE_S + 5)
    changes = {"federation": {"deadline_s": DEADLINE_S}}
    out, left_out = trial.with_one_sick(fault, changes, findings, patience_s=1200)
    findings.expect(left_out.get(2) == named, f"round 2 names {left_out.get(2)!r}, not {named!r}")
    findings.expect(1 not in left_out, "it is left out of round 1")
    if fault != "hangs":
        findings.expect(3 not in left_out, "it is not welcomed back in round 3")
    longest = max(record["seconds"]["train"] for record in rounds_of(out))
    findings.facts["longest_round_s"] = round(longest, 1)
    findings.expect(longest <= DEADLINE_S + _SLACK_S, f"a round lasted {longest:.0f} s")


def _answers_twice(trial: Trial, findings: Findings) -> None:
    node = trial.sites[1].folder / "courier" / "node.sh"
    sick = node.with_name("sick.sh")
    program = shlex.join([sys.executable, "-m", "simulations.faults.sick_node", "twice"])
    sick.write_text(node.read_text().replace("exec flower-supernode", f"exec {program}"))
    _replace_node(trial, "sh", sick)
    try:
        trial.start_sites()
        out = trial.deployment.begin(trial.out())
        trial.deployment.finish(out, patience_s=1200)
        trial.look(findings, out, kills=0, rounds=3)
        said = [line for line in trial.new_text("node-site1").splitlines() if "second answer" in line]
        findings.facts["second_answers"] = len(said)
        findings.expect(bool(said), "no second answer was sent")
        findings.expect(
            all(record["answered"] == ["site0", "site1"] for record in rounds_of(out)), "a round lacks a site"
        )
    finally:
        _replace_node(trial)


def _replace_node(trial: Trial, *program: object) -> None:
    """Flower lets a node in again only a while after it has left."""
    trial.processes.stop("node-site1")
    trial.deployment.start_node(trial.sites[1], *program)


SCENARIOS: dict[str, Scenario] = {
    **{f"site {fault}": partial(_answers, fault, named) for fault, named in _ANSWERS.items()},
    "node answers everything twice": _answers_twice,
}
