# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of Flower's processes while rounds are run; supervisors start them again.

A coordinator whose ServerApp is gone is resumed, as its operator would with ``resume.sh``.
"""

from __future__ import annotations

from functools import partial

from simulations.faults.trial import Findings, Scenario, Trial

_ROUNDS = 5
_VICTIMS = {
    "SuperNode": ("node", "node-site1"),
    "SuperLink": ("superlink", "superlink"),
    "ServerApp": ("serverapp", "superexec"),
    "superexec": ("superexec", "superexec"),
}


def _dies(victim: str, trial: Trial, findings: Findings) -> None:
    kind, name = _VICTIMS[victim]
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    trial.start_sites()
    out = trial.deployment.begin(trial.out())
    trial.deployment.wait_rounds(out, 2)
    findings.expect(trial.deployment.kill(kind, name), f"there was no {victim} to kill")
    findings.facts["resumes"] = trial.deployment.finish(out, patience_s=1200)
    trial.look(findings, out, kills=1, rounds=_ROUNDS)
    findings.facts["left_out"] = trial.left_out(out, "site1")


SCENARIOS: dict[str, Scenario] = {f"{victim} dies": partial(_dies, victim) for victim in _VICTIMS}
