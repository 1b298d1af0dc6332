# SPDX-License-Identifier: Apache-2.0
"""Twenty kills at random instants over a run of twenty rounds, of every kind of process."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from simulations.deployed.federation import rounds_of
from simulations.faults.trial import Findings, Scenario, Trial

ROUNDS, KILLS, SEED = 20, 20, 0
IDLE_S = 30.0
_VICTIMS = (
    ("site", "site-site0"), ("site", "site-site1"), ("site", "site-site0"), ("site", "site-site1"),
    ("serverapp", "superexec"), ("superexec", "superexec"), ("superlink", "superlink"),
    ("node", "node-site1"),
)  # fmt: skip


def _random_kills(trial: Trial, findings: Findings) -> None:
    """Each kill comes some seconds after a round has completed since the one before."""
    draw, killed = random.Random(SEED), Counter[str]()
    trial.deployment.write_run({"federation": {"rounds": ROUNDS, "min_sites": 1, "deadline_s": 60.0}})
    trial.start_sites()
    out, end, resumes = trial.deployment.begin(trial.out()), time.monotonic() + 2400, 0
    while sum(killed.values()) < KILLS and time.monotonic() < end and not (out / "result.json").exists():
        before = len(rounds_of(out))
        resumes += _until_it_moves(trial, out, before)
        time.sleep(draw.uniform(0.0, 6.0))
        kind, name = draw.choice(_VICTIMS)
        killed[kind] += trial.deployment.kill(kind, name)
    resumes += trial.deployment.finish(out, patience_s=900, resumes=20)
    findings.facts |= {"killed": dict(killed), "resumes": resumes}
    findings.expect(sum(killed.values()) >= KILLS * 3 // 4, f"only {sum(killed.values())} kills")
    trial.look(findings, out, kills=sum(killed.values()), rounds=ROUNDS)


def _until_it_moves(trial: Trial, out: Path, before: int) -> int:
    """Wait for one more round, resuming where no ServerApp is at work; how often it was resumed."""
    resumes, idle_since = 0, time.monotonic()
    while len(rounds_of(out)) <= before and not (out / "result.json").exists():
        now = time.monotonic()
        if trial.deployment.conducts:
            idle_since = now
        elif now - idle_since > IDLE_S:
            trial.deployment.go_on(out)
            resumes, idle_since = resumes + 1, now
        time.sleep(0.3)
    return resumes


SCENARIOS: dict[str, Scenario] = {"20 random kills over 20 rounds": _random_kills}
