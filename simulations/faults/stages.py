# SPDX-License-Identifier: Apache-2.0
"""Runs whose sites also vote on synthetic data and count held-out units, and deaths in either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fedpeft.privacy.ledger import show
from simulations.faults.trial import Findings, Scenario, Trial

_STAGES = 'stages = ["training"]'
_MODEL = "\n[model]\n"
_ROUNDS = 2


@contextmanager
def _all_stages(trial: Trial) -> Iterator[None]:
    """Policies allow votes and counts, and the run asks for both; the labels are all responses there are."""
    records = [site.folder / "site" / "records.jsonl" for site in trial.sites]
    lines = [line for path in records for line in path.read_text().splitlines()]
    labels = sorted({json.loads(line)["response"] for line in lines})
    trial.deployment.write_run(
        {
            "federation": {"rounds": _ROUNDS},
            "synthesis": {"generator": "pool", "bins": 8, "size": 40},
            "evaluation": {"private": True, "labels": labels},
        }
    )
    changes = (
        ("policy.toml", _STAGES, 'stages = ["training", "synthesis", "evaluation"]'),
        ("SITE.toml", _MODEL, f"\n[evaluation]\nprivate = true\nlabels = {json.dumps(labels)}\n[model]\n"),
    )
    for site in trial.sites:
        for name, old, new in changes:
            site.edit(name, old, new)
    try:
        yield
    finally:
        for site in trial.sites:
            for name, old, new in changes:
                site.edit(name, new, old)


def _votes_and_counts(trial: Trial, findings: Findings) -> None:
    with _all_stages(trial):
        trial.start_sites()
        out = trial.deployment.begin(trial.out())
        trial.deployment.finish(out, patience_s=1200)
        trial.look(findings, out, kills=0, rounds=_ROUNDS)
        counted, voted = _private(out), _certificate(out)
        findings.expect(set(voted["contributors"]) == {"site0", "site1"}, f"votes of {voted['contributors']}")
        findings.expect(counted["without"] == {}, f"counts without {counted['without']}")
        for site in trial.sites:
            kinds = sorted(row.event.kind for row in show(site.ledger))
            findings.expect(kinds == ["gaussian"] * 2 + ["poisson-gaussian"] * _ROUNDS, f"charges {kinds}")
        findings.facts["notes"] = ["votes and counts of both sites"]


def _dies(point: str, round_number: int, trial: Trial, findings: Findings) -> None:
    with _all_stages(trial):
        trial.start_sites(1)
        trial.start_sick(1, point, round_number)
        out = trial.deployment.begin(trial.out())
        trial.deployment.finish(out, patience_s=1200)
        trial.look(findings, out, kills=1, rounds=_ROUNDS)
        findings.expect((trial.place / f"{trial.out()}-1.marker").exists(), "the site did not die")
        without = {**_certificate(out)["left_out"], **_private(out)["without"]}
        findings.expect(set(without) == {"site1"}, f"without {without}")
        findings.facts["notes"] = [f"without site1's ({without.get('site1')})"]


def _private(out: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((out / "result.json").read_text())["metrics"]["private"]
    return found["after"]


def _certificate(out: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads((out / "synthetic/certificate.json").read_text())
    return found


SCENARIOS: dict[str, Scenario] = {
    "votes and private counts, no fault": _votes_and_counts,
    "site dies in the vote": partial(_dies, "dies in the vote", 0),
    "site dies in the count": partial(_dies, "dies in the count", -1),
}
