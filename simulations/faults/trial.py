# SPDX-License-Identifier: Apache-2.0
"""One scenario at a time on a deployment that lives through many, and what is looked at after each."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file

from fedpeft.checkpoint import load as load_checkpoint
from fedpeft.errors import FedpeftError
from fedpeft.types import JsonDict
from simulations.deployed.federation import Deployment, Organization, rounds_of
from simulations.deployed.processes import Processes, TrialError

PATIENCE_S = 420.0


@dataclass
class Findings:
    """What one scenario shows.

    Attributes:
        facts: figures for the result's line.
        problems: what should have been otherwise; none is a pass.
    """

    facts: JsonDict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(what)


class Trial:
    """A deployment in a folder of its own. Use it as a context manager."""

    def __init__(self, num_sites: int = 2) -> None:
        """Write everything; start nothing."""
        self.place = Path(tempfile.mkdtemp(prefix="fp", dir="/tmp"))
        self.processes = Processes(self.place, PATIENCE_S)
        self.deployment = Deployment.make(self.place, self.processes, num_sites)
        self._number = 0
        self._read: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.deployment.start_coordinator()
        for organization in self.deployment.organizations:
            self.deployment.register(organization)
            self.deployment.start_node(organization)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes.stop_all()
        if kind is None:
            shutil.rmtree(self.place)
        else:
            print(f"kept: {self.place}", file=sys.stderr)

    @property
    def sites(self) -> list[Organization]:
        """The organizations."""
        return self.deployment.organizations

    @contextmanager
    def fresh(self) -> Iterator[Findings]:
        """Whole budgets, no site running, logs read so far; afterwards no site and no run is left over."""
        self.deployment.stop_sites(forget=True)
        self._read = {name: len(text) for name, text in self.processes.logs().items()}
        self._number += 1
        findings, since = Findings(), time.monotonic()
        changes = {section: dict(keys) for section, keys in self.deployment.changes.items()}
        try:
            yield findings
        except TrialError as error:
            findings.problems.append(str(error).splitlines()[0])
            print(error, file=sys.stderr)
        findings.facts["seconds"] = round(time.monotonic() - since)
        findings.facts["tracebacks"] = len(self.tracebacks())
        for name in [name for name in self.processes.pids if name.startswith("run-")]:
            self.processes.stop(name)
        self.deployment.changes = changes
        self.deployment.write_run({})
        self.deployment.stop_sites()
        self.deployment.processes.wait(lambda: not self.deployment.conducts, "the end of the ServerApp")

    def out(self) -> str:
        """The name of this scenario's run."""
        return f"out{self._number}"

    def start_sites(self, *others: int) -> None:
        """Start all sites but some; the run waits for them."""
        for i, organization in enumerate(self.sites):
            if i not in others:
                self.deployment.start_site(organization, wait=False)

    def start_sick(self, index: int, fault: str, round_number: int = 2) -> None:
        """Start a site with a fault that comes in a round."""
        organization = self.sites[index]
        marker = self.place / f"{self.out()}-{index}.marker"
        program = (sys.executable, "-m", "simulations.faults.sick")
        command = (*program, organization.site_file, fault, round_number, marker)
        self.deployment.start_site(organization, *command, wait=False)

    def new_text(self, name: str) -> str:
        """What a process has written in this scenario."""
        return self.processes.log(name)[self._read.get(name, 0) :]

    def tracebacks(self) -> list[str]:
        """Last lines of tracebacks in this scenario, of all processes."""
        found = []
        for name in self.processes.logs():
            for match in re.finditer(
                r"Traceback \(most recent call last\):\n(?:[ \t|+].*\n|\n)*(.*)", self.new_text(name)
            ):
                found.append(f"{name}: {match[1]}")
        return found

    def expect_no_traceback(self, findings: Findings) -> None:
        """Whatever happened was told in a line."""
        lines = self.tracebacks()
        findings.expect(not lines, f"traceback: {lines[:2]}")

    def look(self, findings: Findings, out: Path, *, kills: int, rounds: int) -> None:
        """What must hold after every run: the ledgers, the model, the coordinator's own count."""
        result = _json(out / "result.json")
        findings.facts |= {
            "ended": result["stopped_because"],
            "rounds": result["rounds_completed"],
            "kills": kills,
        }
        ended = result["stopped_because"]
        findings.expect(ended in ("completed", "budget"), f"it ended with {ended}: {result.get('detail')}")
        if ended == "completed":
            findings.expect(result["rounds_completed"] == rounds, f"{result['rounds_completed']} rounds")
        _model(findings, out)
        charges = releases = 0
        for organization in self.sites:
            report = organization.report()
            findings.expect(report.ok, f"{organization.identity}: {report.problems}")
            charges, releases = charges + report.num_events, releases + report.num_releases
            spent = max((run.epsilon_spent for run in report.runs), default=0.0)
            seen = result["epsilon_spent_by_site"].get(organization.identity, 0.0)
            findings.expect(seen <= spent + 1e-6, f"{organization.identity}: under-counted {seen} > {spent}")
        findings.facts |= {"charges": charges, "releases": releases, "excess": charges - releases}
        findings.expect(charges - releases <= kills, f"excess {charges - releases} after {kills} kills")

    def with_one_sick(
        self, fault: str, changes: dict[str, Any], findings: Findings, *, patience_s: float
    ) -> tuple[Path, dict[int, str]]:
        """Three rounds with a run of these changes, the second site having the fault in the second round.

        Returns:
            The run's folder, and the rounds that the site was left out of.
        """
        self.deployment.write_run(changes)
        self.start_sites(1)
        self.start_sick(1, fault)
        out = self.deployment.begin(self.out())
        findings.facts["resumes"] = self.deployment.finish(out, patience_s=patience_s)
        self.look(findings, out, kills=1, rounds=3)
        self.expect_no_traceback(findings)
        findings.facts["left_out"] = left_out = self.left_out(out, "site1")
        return out, left_out

    def left_out(self, out: Path, site: str) -> dict[int, str]:
        """Rounds that a site is named as missing from, and as what."""
        found = {}
        for record in rounds_of(out):
            for word in ("refused", "dropped"):
                if site in record[word]:
                    found[record["round"]] = record[word][site]
            if site in record["missing"]:
                found[record["round"]] = "no answer"
        return found


def _model(findings: Findings, out: Path) -> None:
    """The adapter is there, whole, and finite; so is the checkpoint."""
    try:
        tensors = load_file(out / "adapter" / "adapter_model.safetensors")
        finite = all(np.isfinite(tensor).all() for tensor in tensors.values())
        moved = bool(np.any(load_checkpoint(out / "checkpoint").adapter))
        findings.expect(bool(tensors) and finite and moved, "the model is not finite, or was never moved")
    except (OSError, FedpeftError) as error:
        findings.problems.append(f"the model is lost: {error}")


def _json(path: Path) -> JsonDict:
    import json

    found: JsonDict = json.loads(path.read_text())
    return found


Scenario = Callable[[Trial, Findings], None]
