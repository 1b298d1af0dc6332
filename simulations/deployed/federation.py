# SPDX-License-Identifier: Apache-2.0
"""A coordinator and its organizations on the loopback interface, set up as ``fedpeft init`` sets them up.

One user runs everything here, TLS and node authentication are as in earnest. Every process is under a
supervisor that starts it again when it dies, as a systemd unit would; :meth:`Deployment.kill` ends the
process itself with SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import tomli_w

from fedpeft.deployment.init import init_coordinator, init_site
from fedpeft.privacy.ledger import VerifyReport, verify
from fedpeft.privacy.policy import load_policy
from fedpeft.testing import tiny_config
from fedpeft.types import JsonDict
from simulations.deployed.processes import Processes, TrialError, children, free_ports, listens

UNITS: Final = 40
_AGAIN_S: Final = 2
_SUPERVISOR: Final = f'while :; do "$@"; sleep {_AGAIN_S}; done'
_PROGRAMS: Final = {
    "superlink": "flower-superlink",
    "superexec": "flower-superexec",
    "serverapp": "flwr-serverapp",
    "node": "flower-supernode",
    "site": "site",
}
"""What the command line of each holds."""


@dataclass
class Organization:
    """One organization's folders.

    Attributes:
        folder: that ``fedpeft init site`` made.
        socket: of its resident site.
    """

    identity: str
    folder: Path
    socket: Path

    @property
    def site_file(self) -> Path:
        """Its ``SITE.toml``."""
        return self.folder / "site" / "SITE.toml"

    @property
    def ledger(self) -> Path:
        """Its ledger."""
        return self.folder / "site" / "ledger" / f"{self.identity}.sqlite"

    def report(self) -> VerifyReport:
        """What its ledger says, recomputed."""
        return verify(self.ledger, load_policy(self.folder / "site" / "policy.toml"))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that one of the files in ``site/`` holds."""
        path = self.folder / "site" / name
        text = path.read_text()
        if old not in text:
            raise TrialError(f"{path}: has no {old!r}")
        path.write_text(text.replace(old, new))


@dataclass
class Deployment:
    """Everything in one folder with a short path."""

    place: Path
    processes: Processes
    organizations: list[Organization]
    port: int
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        place: Path,
        processes: Processes,
        num_sites: int = 2,
        *,
        rank: int = 2,
        slot_s: float = 0.0,
        **model: Any,
    ) -> Deployment:
        """Write everything; start nothing.

        Args:
            place: an empty folder; its path is short, since those of sockets must be.
            processes: to start them with.
            num_sites: organizations.
            rank: of the adapter.
            slot_s: of every site.
            model: the table ``[model]`` of all parties; default: the tiny backbone.
        """
        port, *node_ports = free_ports(num_sites + 1)
        tiny_config(place, num_sites=num_sites, num_records=UNITS)
        model = model or {"backbone": str(place / "backbone")}
        init_coordinator(place / "c", "trial", ["127.0.0.1"], port)
        made = cls(place, processes, [], port)
        for i, node_port in enumerate(node_ports):
            made.organizations.append(made._organization(i, node_port, rank, slot_s, model))
        made.write_run({"model": model, "adapter": {"rank": rank}})
        return made

    @classmethod
    def found(cls, place: Path, processes: Processes) -> Deployment:
        """One that :meth:`make` wrote earlier, whose processes are gone; its ``run.toml`` stays as it is."""
        script = (place / "c/superlink.sh").read_text()
        port = int(script.partition("--port ")[2].split()[0])
        names = sorted(path.name for path in place.glob("site[0-9]*") if path.is_dir())
        return cls(
            place,
            processes,
            [Organization(n, place / n, place / n.replace("site", "run") / "site.sock") for n in names],
            port,
        )

    def write_run(self, changes: Mapping[str, Mapping[str, Any]], *, with_records: bool = False) -> None:
        """The coordinator's ``run.toml``: what is usual in these trials, with changes that stay.

        Args:
            changes: by section.
            with_records: name each site's records too, for nodes that open them themselves.
        """
        for section, keys in changes.items():
            self.changes[section] = {**self.changes.get(section, {}), **keys}
        tables: dict[str, Any] = {
            "data": {"source": "sites", "max_length": 64},
            "privacy": {"epsilon": 8.0, "delta": 1e-5, "crash_reserve": 2},
            "training": {"sampling_rate": 0.5},
            "federation": {"rounds": 3, "deadline_s": 120.0, "min_sites": 1},
            "run": {"threads": 1},
        }
        for section, keys in self.changes.items():
            tables[section] = {**tables.get(section, {}), **keys}
        sites = [
            {"name": one.identity, "declared_units": UNITS}
            | ({"path": str(one.folder / "site" / "records.jsonl")} if with_records else {})
            for one in self.organizations
        ]
        (self.place / "c/run.toml").write_text(tomli_w.dumps({**tables, "sites": sites}))

    def start(self, *, register: bool = True) -> None:
        """The coordinator, then every organization's node and site."""
        self.start_coordinator()
        for organization in self.organizations:
            if register:
                self.register(organization)
            self.start_node(organization)
            self.start_site(organization)

    def start_coordinator(self) -> None:
        """SuperLink and SuperExec."""
        self._supervised("superlink", "sh", self.place / "c/superlink.sh")
        self.processes.wait_for("superlink", lambda: listens(self.port), "the SuperLink's port")
        self._supervised("superexec", "sh", self.place / "c/superexec.sh")

    def register(self, organization: Organization) -> None:
        """Let a node in, by its key."""
        key = organization.folder / "courier/keys/node.pub"
        self.processes.call("sh", self.place / "c/register.sh", key)

    def start_node(self, organization: Organization, *program: object) -> None:
        """An organization's SuperNode; another program than its ``node.sh``, if one is given."""
        command = program or ("sh", organization.folder / "courier/node.sh")
        self._supervised(f"node-{organization.identity}", *command)

    def start_site(self, organization: Organization, *program: object, wait: bool = True) -> None:
        """An organization's resident site; another program than ``fedpeft site serve``, if one is given."""
        command = program or (
            Path(sys.executable).parent / "fedpeft", "site", "serve", organization.site_file,
            "--one-user-trial",
        )  # fmt: skip
        name = f"site-{organization.identity}"
        self._supervised(name, *command)
        if wait:
            self.processes.wait_for(name, organization.socket.exists, "the site's socket")

    def stop_sites(self, *, forget: bool = False) -> None:
        """End all sites; with ``forget`` their ledgers go too, so that the next trial has a whole budget."""
        for organization in self.organizations:
            if self.processes.runs(f"site-{organization.identity}"):
                self.processes.stop(f"site-{organization.identity}")
            organization.socket.unlink(missing_ok=True)
            if forget:
                shutil.rmtree(organization.ledger.parent, ignore_errors=True)

    def kill(self, kind: str, name: str) -> bool:
        """SIGKILL to the process under a supervisor; whether there was one.

        Args:
            kind: one of ``superlink``, ``superexec``, ``serverapp``, ``node``, ``site``.
            name: of the supervisor.
        """
        found = self.find(kind, name)
        for pid in found[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def find(self, kind: str, name: str) -> list[int]:
        """Processes of a kind under a supervisor."""
        if not self.processes.runs(name):
            return []
        return children(self.processes.pid(name), _PROGRAMS[kind])

    def lasting(self) -> dict[str, int]:
        """The processes that outlive a message, by what they are; ``serverapp`` while a run is conducted."""
        kinds = {"superlink": "superlink", "superexec": "superexec"}
        for one in self.organizations:
            kinds |= {f"node-{one.identity}": "node", f"site-{one.identity}": "site"}
        found = {name: self.find(kind, name) for name, kind in kinds.items()}
        found["serverapp"] = self.find("serverapp", "superexec")
        return {name: pids[0] for name, pids in found.items() if pids}

    @property
    def conducts(self) -> bool:
        """Whether a ServerApp is at work."""
        return bool(self.find("serverapp", "superexec"))

    def begin(self, out: str) -> Path:
        """Start a run; its folder."""
        folder = self.place / out
        self._run_command(out, "run.sh", folder)
        return folder

    def resume(self, out: Path) -> None:
        """Go on with an interrupted run."""
        self._run_command(out.name, "resume.sh", out)

    def go_on(self, out: Path) -> None:
        """Resume a run, or start it again if it had not begun."""
        if (out / "config.toml").exists():
            self.resume(out)
        else:
            self._run_command(out.name, "run.sh", out)

    def wait_rounds(self, out: Path, number: int) -> None:
        """Wait until so many rounds are complete."""
        self.processes.wait(lambda: len(rounds_of(out)) >= number, f"round {number}", show=f"run-{out.name}")

    def finish(
        self,
        out: Path,
        *,
        patience_s: float,
        idle_s: float = 25.0,
        resumes: int = 8,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Wait for the result; resume where no ServerApp has been at work for a while.

        Args:
            out: the run's folder.
            patience_s: the longest wait.
            idle_s: how long no ServerApp may be seen before the run is resumed.
            resumes: at most.
            meanwhile: called several times a second.

        Returns:
            How often it was resumed.

        Raises:
            TrialError: it does not come.
        """
        end, idle_since, resumed = time.monotonic() + patience_s, time.monotonic(), 0
        while not (out / "result.json").exists():
            now = time.monotonic()
            meanwhile()
            if self.conducts:
                idle_since = now
            elif now - idle_since > idle_s and listens(self.port):
                if resumed >= resumes:
                    break
                resumed, idle_since = resumed + 1, now
                self.go_on(out)
            if now > end:
                break
            time.sleep(0.3)
        if not (out / "result.json").exists():
            raise TrialError(
                f"no result after {resumed} resumes\n{self.processes.log(f'run-{out.name}')[-3000:]}"
            )
        self.processes.wait(lambda: not self.conducts, "the end of the ServerApp")
        return resumed

    def _run_command(self, out: str, script: str, folder: Path) -> None:
        name = f"run-{out}"
        if self.processes.runs(name):
            self.processes.stop(name)
        self.processes.start(name, "sh", self.place / "c" / script, folder)

    def _supervised(self, name: str, *command: object) -> None:
        self.processes.start(name, "sh", "-c", _SUPERVISOR, "sh", *command)

    def _organization(
        self, index: int, node_port: int, rank: int, slot_s: float, model: JsonDict
    ) -> Organization:
        identity = f"site{index}"
        made = Organization(identity, self.place / identity, self.place / f"run{index}" / "site.sock")
        address = f"127.0.0.1:{self.port}"
        init_site(made.folder, identity, address, socket=made.socket, node_port=node_port)
        shutil.move(self.place / f"{identity}.jsonl", made.folder / "site" / "records.jsonl")
        for part in ("site", "courier"):
            shutil.copy(self.place / "c/certificates/ca.crt", made.folder / part)
        made.edit("policy.toml", "declared_units = 1000", f"declared_units = {UNITS}")
        made.edit("SITE.toml", 'courier = "fedpeft-courier"', 'courier = "nobody"')
        made.edit("SITE.toml", "slot_s = 1.0 ", f"slot_s = {slot_s} ")
        made.edit("SITE.toml", "rank = 8", f"rank = {rank}")
        made.edit("SITE.toml", "max_length = 256", 'max_length = 64\ntask = "task"\nid = "id"')
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in model.items())
        made.edit("SITE.toml", "\n[model]\n", f"\n[run]\nthreads = 1\n[model]\n{lines}")
        made.socket.parent.mkdir(mode=0o750)
        return made


def rounds_of(out: Path) -> list[JsonDict]:
    """The lines of ``rounds.jsonl``, one a complete round."""
    path = out / "rounds.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
