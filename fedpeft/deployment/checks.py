# SPDX-License-Identifier: Apache-2.0
"""``fedpeft site check``: everything that can be wrong before the first round, one line each with its mend.

The lines are for the organization's own terminal: they count its records.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Final

from fedpeft.config import missing_files
from fedpeft.deployment.coordinator import certificate_findings, superlink_findings
from fedpeft.deployment.finding import Finding
from fedpeft.deployment.resident import guard_problems
from fedpeft.deployment.site_file import SiteFile
from fedpeft.doctor import untested_versions
from fedpeft.errors import FedpeftError
from fedpeft.privacy.ledger import verify
from fedpeft.run_sources import read_sources
from fedpeft.site.remote import RemoteSite

_SOON: Final = datetime.timedelta(days=30)


def check_site(file: SiteFile, *, one_user_trial: bool = False) -> list[Finding]:
    """Look at everything that a site needs; a check that cannot be made is a finding too."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _access(file, one_user_trial),
        lambda: _policy(file, datetime.datetime.now(datetime.UTC).date()),
        lambda: _ledger(file),
        lambda: _data(file),
        _versions,
        lambda: certificate_findings(file.keys.certificate),
        lambda: superlink_findings(file.keys.superlink, file.keys.certificate),
        lambda: _resident(file),
    )
    return [finding for check in checks for finding in _caught(check)]


def _caught(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except FedpeftError as error:
        yield from (Finding(False, line) for line in str(error).splitlines())


def _access(file: SiteFile, one_user_trial: bool) -> Iterator[Finding]:
    problems = guard_problems(file, one_user_trial=one_user_trial)
    yield from (Finding(False, problem) for problem in problems)
    if not problems:
        who = "one user runs everything, for a trial" if one_user_trial else f"closed to {file.keys.courier}"
        yield Finding(True, f"access: {who}")


def _policy(file: SiteFile, today: datetime.date) -> Iterator[Finding]:
    policy = file.policy
    if today > policy.expires:
        yield Finding(False, f"policy: expires = {policy.expires} has passed; set a later day to serve again")
    elif policy.expires - today < _SOON:
        yield Finding(True, f"policy: expires on {policy.expires}, in less than 30 days")
    if "training" not in policy.stages:
        yield Finding(False, 'policy: stages lacks "training", so every round would be refused; add it')
    yield Finding(
        True,
        f"policy: {policy.identity} protects each {policy.unit} with epsilon {policy.epsilon:g} and delta "
        f"{policy.delta:g} for life, {policy.declared_units} units declared",
    )


def _ledger(file: SiteFile) -> Iterator[Finding]:
    if not file.ledger.exists():
        yield Finding(True, f"budget: nothing spent; {file.ledger} will be made")
        return
    report = verify(file.ledger, file.policy)
    yield from (Finding(False, f"ledger {file.ledger}: {problem}") for problem in report.problems)
    if report.left is not None:
        left = report.left.epsilon
        mend = "" if left > 0 else "; agree on a policy that allows more, under a new identity for new data"
        text = f"budget: epsilon {left:.4f} and delta {report.left.delta:.3g} are left for the next run{mend}"
        yield Finding(left > 0, text)


def _data(file: SiteFile) -> Iterator[Finding]:
    missing = missing_files(file.config)
    if missing:
        yield from (Finding(False, line) for line in missing)
        return
    (records,) = read_sources(file.config).sites.records.values()
    num_units, declared = len({record.unit for record in records}), file.policy.declared_units
    yield Finding(True, f"data: {len(records)} records of {num_units} units; {declared} units are declared")
    if num_units < declared / 2:
        yield Finding(True, "data: far fewer units than declared; the site would send little but noise")


def _versions() -> Iterator[Finding]:
    untested = untested_versions()
    for name, version in untested.items():
        yield Finding(True, f"versions: {name} {version}; pip install --constraint constraints.txt fedpeft")
    if not untested:
        yield Finding(True, "versions: those that fedpeft is tested with")


def _resident(file: SiteFile) -> Iterator[Finding]:
    serves = RemoteSite(file.keys.socket).is_healthy()
    yield Finding(True, f"socket {file.keys.socket}: {'the site serves' if serves else 'nobody listens yet'}")
