# SPDX-License-Identifier: Apache-2.0
"""Ledgers that were put back from a backup, copied, are served twice, or are asked by two runs at once."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from simulations.faults.trial import Findings, Scenario, Trial

_ROUNDS = 6


def _restored(trial: Trial, findings: Findings) -> None:
    """A backup of before the newest round replaces the ledger; the coordinator has seen a newer head."""
    site = trial.sites[1]
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    trial.start_sites()
    out = trial.deployment.begin(trial.out())
    trial.deployment.wait_rounds(out, 1)
    backup = site.ledger.with_suffix(".backup")
    shutil.copy(site.ledger, backup)
    trial.deployment.wait_rounds(out, 2)
    trial.processes.stop("site-site1")
    newest = site.ledger.with_suffix(".newest")
    shutil.move(site.ledger, newest)
    shutil.move(backup, site.ledger)
    trial.deployment.start_site(site)
    trial.deployment.finish(out, patience_s=1200)
    left_out = trial.left_out(out, "site1")
    findings.facts["left_out"] = left_out
    findings.expect("rollback" in left_out.values(), f"named as {left_out}")
    last = max(left_out, default=0)
    findings.expect(last == _ROUNDS, f"served again after round {last}")
    report = site.report()
    findings.facts["charges_on_the_backup"] = report.num_events
    findings.expect(report.num_events <= 2, "the old ledger was charged")


def _copied(trial: Trial, findings: Findings) -> None:
    """A second site starts on a copy of the ledger, in a folder of its own, in the first one's place."""
    site = trial.sites[1]
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    trial.start_sites()
    out = trial.deployment.begin(trial.out())
    trial.deployment.wait_rounds(out, 1)
    copy = site.folder / "copy"
    copy.mkdir(mode=0o700)
    shutil.copytree(site.ledger.parent, copy / "ledger")
    trial.deployment.wait_rounds(out, 2)
    trial.processes.stop("site-site1")
    text = site.site_file.read_text()
    second = site.site_file.with_name("SECOND.toml")
    second.write_text(text.replace("[site]", f'[site]\nfolder = "{copy}"'))
    second.chmod(0o600)
    fedpeft = Path(sys.executable).parent / "fedpeft"
    trial.deployment.start_site(site, fedpeft, "site", "serve", second, "--one-user-trial")
    trial.deployment.finish(out, patience_s=1200)
    left_out = trial.left_out(out, "site1")
    findings.facts["left_out"] = left_out
    findings.expect("rollback" in left_out.values(), f"named as {left_out}")
    shutil.rmtree(copy)


def _served_twice(trial: Trial, findings: Findings) -> None:
    """Another resident site on the same ledger, with a socket of its own."""
    site = trial.sites[0]
    trial.deployment.start_site(site)
    text = site.site_file.read_text()
    second = site.site_file.with_name("SECOND.toml")
    second.write_text(text.replace("site.sock", "other.sock"))
    second.chmod(0o600)
    fedpeft = Path(sys.executable).parent / "fedpeft"
    trial.processes.start("second", fedpeft, "site", "serve", second, "--one-user-trial")
    code = trial.processes.end("second")
    line = trial.new_text("second").strip().splitlines()[-1]
    findings.facts |= {"exit": code, "line": line.replace(str(trial.place), "DIR")}
    findings.expect(code != 0 and "another resident site serves it" in line, line)


def _two_runs(trial: Trial, findings: Findings) -> None:
    """A second run begins while the first, which has taken all of both policies, is at work."""
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    trial.start_sites()
    first = trial.deployment.begin(trial.out())
    trial.deployment.wait_rounds(first, 1)
    second = trial.deployment.begin(f"{trial.out()}-second")
    for out in (second, first):
        trial.deployment.finish(out, patience_s=1200)
    trial.look(findings, first, kills=0, rounds=_ROUNDS)
    result = json.loads((second / "result.json").read_text())
    ended, left_out = result["stopped_because"], result["left_out"]
    findings.facts["notes"] = [f"the second run: {ended} after {result['rounds_completed']} rounds"]
    findings.expect(ended == "budget", f"the second run ended with {ended}: {result.get('detail')}")
    findings.expect(left_out == {"site0": "budget", "site1": "budget"}, f"it names {left_out}")


SCENARIOS: dict[str, Scenario] = {
    "ledger put back from a backup": _restored,
    "ledger copied, the copy served": _copied,
    "two sites on one ledger": _served_twice,
    "two runs on the same sites at once": _two_runs,
}
