# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of a site at every point of a request; its supervisor starts it again.

One of two sites dies. Where ``min_sites`` is 1, the round ends without it and it is welcome in the next;
where it is 2, the coordinator asks the same again until the site is back.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from fedpeft.privacy.ledger import show
from simulations.faults.sick import DEATHS
from simulations.faults.trial import Findings, Scenario, Trial

_CHARGED_AGAIN = ("dies after the charge", "dies in training", "dies before the release is kept")
_RESERVE = "crash_reserve = "


def _dies(point: str, min_sites: int, trial: Trial, findings: Findings) -> None:
    changes = {"federation": {"min_sites": min_sites}}
    _, left_out = trial.with_one_sick(point, changes, findings, patience_s=900)
    findings.expect((trial.place / f"{trial.out()}-1.marker").exists(), "the site did not die")
    allowed = {2, 3} if min_sites == 1 else set()
    findings.expect(set(left_out) <= allowed, f"left out of {left_out}")


def _dies_at_each_point(trial: Trial, findings: Findings) -> None:
    """In the second round at the first point, in the third at the second, and so on; all rounds need it."""
    rounds = len(DEATHS) + 1
    trial.deployment.write_run(
        {
            "federation": {"min_sites": 2, "rounds": rounds, "deadline_s": 600.0},
            "privacy": {"crash_reserve": 6},
        }
    )
    for site in trial.sites:
        site.edit("policy.toml", f"{_RESERVE}2", f"{_RESERVE}6")
    try:
        trial.start_sites(1)
        trial.start_sick(1, "dies at each point in turn")
        out = trial.deployment.begin(trial.out())
        findings.facts["resumes"] = trial.deployment.finish(out, patience_s=2400)
        trial.look(findings, out, kills=len(DEATHS), rounds=rounds)
    finally:
        trial.deployment.stop_sites()
        for site in trial.sites:
            site.edit("policy.toml", f"{_RESERVE}6", f"{_RESERVE}2")
    trial.expect_no_traceback(findings)
    findings.expect(not trial.left_out(out, "site1"), "it was left out of a round that needed it")
    charges = Counter(row.request_id.rpartition(":")[2] for row in show(trial.sites[1].ledger))
    for number, point in enumerate(DEATHS, start=2):
        expected = 2 if point in _CHARGED_AGAIN else 1
        found = charges[str(number)]
        findings.expect(found == expected, f"{point}: charged {found} times, not {expected}")
    findings.facts["notes"] = [f"charged twice: {', '.join(point for point in _CHARGED_AGAIN)}"]


SCENARIOS: dict[str, Scenario] = {
    "site dies at each point in turn": _dies_at_each_point,
    "site dies in training, the round needs it": partial(_dies, "dies in training", 2),
    "site dies in training, the round goes on": partial(_dies, "dies in training", 1),
    "site dies before the reply, the round goes on": partial(_dies, "dies before the reply", 1),
}
