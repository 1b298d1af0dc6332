# SPDX-License-Identifier: Apache-2.0
"""A disk that is full at a site's ledger or at the coordinator's checkpoint, and has room again later.

The folder lies on a small file system in memory, which takes root to mount.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from simulations.deployed.federation import rounds_of
from simulations.deployed.processes import TrialError
from simulations.faults.trial import Findings, Scenario, Trial

_ROUNDS: Final = 6
_BLOCK: Final = 4096


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    if os.geteuid() != 0:
        raise TrialError("a small file system can only be mounted by root; run this scenario as root")
    folder.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(folder: Path) -> Path:
    """A file that leaves no room at all."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(_BLOCK))
    return filler


def _ledger_full(trial: Trial, findings: Findings) -> None:
    site = trial.sites[1]
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    with _small_disk(site.ledger.parent, 1):
        trial.start_sites()
        out = trial.deployment.begin(trial.out())
        trial.deployment.wait_rounds(out, 1)
        filler = _fill(site.ledger.parent)
        trial.deployment.wait_rounds(out, 3)
        filler.unlink()
        trial.deployment.finish(out, patience_s=1200)
        left_out = trial.left_out(out, "site1")
        findings.facts["left_out"] = left_out
        trial.look(findings, out, kills=len(left_out), rounds=_ROUNDS)
        trial.deployment.stop_sites()
    findings.expect("unavailable" in left_out.values(), f"left out as {left_out}")
    findings.expect(_ROUNDS not in left_out, "it is not welcomed back")
    said = trial.new_text("site-site1")
    findings.expect("make room on the disk" in said, "the site's log does not say what to mend")


def _checkpoint_full(trial: Trial, findings: Findings) -> None:
    trial.deployment.write_run({"federation": {"rounds": _ROUNDS}})
    trial.start_sites()
    with _small_disk(trial.place / trial.out(), 80):
        out = trial.deployment.begin(trial.out())
        trial.deployment.wait_rounds(out, 1)
        filler = _fill(out)
        trial.processes.wait(lambda: not trial.deployment.conducts, "the end of the ServerApp")
        completed = len(rounds_of(out))
        said = trial.new_text("superexec") + trial.new_text(f"run-{trial.out()}")
        findings.expect("No space left" in said, "nothing says that the disk is full")
        filler.unlink()
        findings.facts["resumes"] = trial.deployment.finish(out, patience_s=1200)
        findings.facts["notes"] = [f"stopped after {completed} complete rounds"]
        trial.look(findings, out, kills=1, rounds=_ROUNDS)


def _no_room_to_begin(trial: Trial, findings: Findings) -> None:
    trial.start_sites()
    with _small_disk(trial.place / trial.out(), 16):
        trial.deployment.begin(trial.out())
        trial.processes.wait(lambda: "the run needs" in _said(trial), "the refusal")
        line = next(line for line in _said(trial).splitlines() if "the run needs" in line)
        findings.facts["line"] = line.partition("--out")[2].replace(str(trial.place), "DIR").strip(" :")
    charges = sum(one.report().num_events for one in trial.sites if one.ledger.exists())
    findings.facts["charges"] = charges
    findings.expect(not charges, "something was charged")


def _said(trial: Trial) -> str:
    return trial.new_text("superexec") + trial.new_text(f"run-{trial.out()}")


SCENARIOS: dict[str, Scenario] = {
    "disk full at a ledger": _ledger_full,
    "disk full at the checkpoint": _checkpoint_full,
    "too little room to begin": _no_room_to_begin,
}
