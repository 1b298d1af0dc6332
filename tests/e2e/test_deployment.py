# SPDX-License-Identifier: Apache-2.0
"""A deployment as it is: SuperLink, SuperNodes, resident sites under TLS, as ``fedpeft init`` sets them up.

Run as root, every organization's site and courier are users of their own; otherwise one user runs everything.
Each process is started with its own process group, and that group is ended by its number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from peft import PeftModel

from fedpeft.deployment.init import init_coordinator, init_site
from fedpeft.privacy.ledger import verify
from fedpeft.privacy.policy import load_policy
from fedpeft.testing import tiny_backbone, tiny_config
from simulations.deployed.processes import PATIENCE_S, Processes, free_ports, listens

ROOT = Path(__file__).parents[2]
SITE_UID, COURIER_UID = 54321, 65534
COMMANDS = ("fedpeft", "flwr", "flower-supernode", "flower-superexec", "flwr-clientapp")


def _commands_for_all(place: Path) -> Path | None:
    """A folder of commands that every user may run, made anew where this installation is closed to others.

    Returns:
        ``None`` where the test is not root's or there is no such Python: one user runs everything then.
    """
    own = Path(sys.executable).parent
    if os.geteuid() != 0 or _runs_for_others(sys.executable):
        return own if os.geteuid() == 0 else None
    python = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    if python is None or not _runs_for_others(python):
        return None
    made = subprocess.run([python, "-m", "venv", "--without-pip", place / "venv"])
    if made.returncode:
        return None
    (libraries,) = (place / "venv/lib").glob("python3*/site-packages")
    (libraries / "installed.pth").write_text(sysconfig.get_path("purelib"))
    for name in COMMANDS:
        _, _, script = (own / name).read_text().partition("\n")
        (place / "venv/bin" / name).write_text(f"#!{place}/venv/bin/python\n{script}")
        (place / "venv/bin" / name).chmod(0o755)
    return place / "venv/bin"


def _runs_for_others(python: str) -> bool:
    try:
        done = subprocess.run([python, "-I", "-c", ""], user=SITE_UID, group=SITE_UID, cwd="/")
    except OSError:
        return False
    return done.returncode == 0 and os.access(ROOT, os.R_OK)


@pytest.fixture
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fp", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def processes(place: Path) -> Iterator[Processes]:
    with Processes(place) as made:
        yield made


class Organization:
    """One that followed its README."""

    def __init__(
        self, place: Path, index: int, superlink: str, node_port: int, commands: Path | None
    ) -> None:
        self.identity, self.commands = f"site{index}", commands
        folder = self.folder = place / self.identity
        self.socket = place / f"run{index}" / "site.sock"
        init_site(folder, self.identity, superlink, socket=self.socket, node_port=node_port)
        shutil.move(place / f"site{index}.jsonl", folder / "site" / "records.jsonl")
        shutil.copy(place / "c/certificates/ca.crt", folder / "site")
        shutil.copy(place / "c/certificates/ca.crt", folder / "courier")
        self._edit("policy.toml", "declared_units = 1000", "declared_units = 40")
        courier = str(COURIER_UID) if commands else "nobody"
        self._edit("SITE.toml", 'courier = "fedpeft-courier"', f'courier = "{courier}"')
        self._edit("SITE.toml", "rank = 8", "rank = 2")
        self._edit("SITE.toml", "max_length = 256", 'max_length = 64\ntask = "task"\nid = "id"')
        self._edit(
            "SITE.toml", "\n[model]\n", f'\n[run]\nthreads = 1\n[model]\nbackbone = "{place}/backbone"\n'
        )
        self.socket.parent.mkdir()
        self.socket.parent.chmod(0o750)
        (folder / "site/records.jsonl").chmod(0o600)
        if commands:
            self._edit("../courier/node.sh", str(Path(sys.executable).parent), str(commands))
            os.chown(self.socket.parent, SITE_UID, COURIER_UID)
            for part, uid in (("site", SITE_UID), ("courier", COURIER_UID)):
                for path in [folder / part, *(folder / part).rglob("*")]:
                    os.chown(path, uid, uid)

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "site" / name
        text = path.read_text()
        assert old in text, (name, old)
        path.write_text(text.replace(old, new))

    def start(self, processes: Processes) -> None:
        trial = () if self.commands else ("--one-user-trial",)
        fedpeft = (self.commands or Path(sys.executable).parent) / "fedpeft"
        site = {"uid": SITE_UID, "group": COURIER_UID} if self.commands else {}
        courier = {"uid": COURIER_UID} if self.commands else {}
        homes = self.folder / "site", self.folder / "courier"
        command = (fedpeft, "site", "serve", homes[0] / "SITE.toml", *trial)
        self.site_pid = processes.start(self.identity, *command, home=homes[0], **site)
        processes.wait_for(self.identity, self.socket.exists, "its socket")
        node = (f"node of {self.identity}", "sh", homes[1] / "node.sh")
        processes.start(*node, home=homes[1], **courier)


def _edit_run(place: Path) -> None:
    """The coordinator's run.toml, for two sites and the tiny backbone."""
    tables = {
        "model": {"backbone": str(place / "backbone")},
        "adapter": {"rank": 2},
        "data": {"source": "sites", "max_length": 64},
        "privacy": {"epsilon": 8.0, "delta": 1e-5, "crash_reserve": 2},
        "training": {"sampling_rate": 0.5},
        "federation": {"rounds": 2, "deadline_s": PATIENCE_S},
        "run": {"threads": 1},
        "sites": [{"name": f"site{i}", "declared_units": 40} for i in range(2)],
    }
    (place / "c/run.toml").write_text(tomli_w.dumps(tables))


def test_two_organizations_train_over_real_processes(place: Path, processes: Processes) -> None:
    port, *node_ports = free_ports(3)
    tiny_config(place, num_sites=2)
    for file in (place / "backbone").iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone
    init_coordinator(place / "c", "clinics", ["127.0.0.1"], port)
    _edit_run(place)
    processes.start("superlink", "sh", place / "c/superlink.sh")
    commands = _commands_for_all(place)
    organizations = [Organization(place, i, f"127.0.0.1:{port}", node_ports[i], commands) for i in range(2)]
    processes.wait_for("superlink", lambda: listens(port), "its port")
    processes.start("superexec", "sh", place / "c/superexec.sh")
    for organization in organizations:
        key = organization.folder / "courier/keys/node.pub"
        processes.call("sh", place / "c/register.sh", key)
        organization.start(processes)

    said = processes.call("sh", place / "c/run.sh", place / "out")
    result_file = place / "out/result.json"
    assert result_file.exists(), said + processes.log("node of site0")
    result = json.loads(result_file.read_text())
    assert (result["stopped_because"], result["rounds_completed"]) == ("completed", 2)
    assert result["ledger_scope"] == "organization"
    assert result["epsilon"] == 8.0
    PeftModel.from_pretrained(tiny_backbone().model, str(place / "out/adapter"))
    for organization in organizations:
        assert _holders(organization.folder / "site/records.jsonl") <= {organization.site_pid}
        if commands:
            _cannot_be_read_by_its_courier(organization)
        assert processes.stop(organization.identity) == 0
        folder = organization.folder / "site"
        (delivered,) = folder.glob("delivered/*/*")
        assert (delivered / "result.json").read_bytes() == result_file.read_bytes()
        assert _evaluates(processes, delivered / "adapter", folder / "records.jsonl")
        identity = organization.identity
        report = verify(folder / f"ledger/{identity}.sqlite", load_policy(folder / "policy.toml"))
        assert report.ok, report.problems
        assert (report.num_events, report.num_releases) == (2, 2)
        assert report.runs[0].epsilon_spent == pytest.approx(
            result["epsilon_spent_by_site"][identity], abs=1e-3
        )


def _cannot_be_read_by_its_courier(organization: Organization) -> None:
    """What code that the coordinator uploads could try, as the user that it would run as."""
    site, pid = organization.folder / "site", organization.site_pid
    attempts = [
        ["cat", site / "records.jsonl"],
        ["cat", site / "policy.toml"],
        ["rm", "-f", site / "ledger" / f"{organization.identity}.sqlite"],
        ["mv", organization.folder / "site", organization.folder / "mine"],
        ["cat", f"/proc/{pid}/mem"],
        ["cat", f"/proc/{pid}/environ"],
        ["kill", str(pid)],
    ]
    for attempt in attempts:
        who = {"user": COURIER_UID, "group": COURIER_UID, "extra_groups": []}
        done = subprocess.run([str(part) for part in attempt], capture_output=True, **who)
        assert done.returncode != 0, attempt
        assert done.stdout == b"", attempt


def _evaluates(processes: Processes, adapter: Path, records: Path) -> bool:
    """Whether the organization can use what it got, on its own records, with the command of the document."""
    command = ("fedpeft", "evaluate", adapter, "--data", records, "--task", "task", "--records", 4, "--json")
    return json.loads(processes.call(*command))["records"] == 4


def _holders(path: Path) -> set[int]:
    """Processes of this machine that have a file open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.resolve() == path.resolve():
                found.add(int(link.parts[2]))
    return found
