# SPDX-License-Identifier: Apache-2.0
"""A deployment as it is: SuperLink, SuperNodes and sites under TLS, set up as ``docs/deployment.md`` says.

Run as root, every organization's site and courier are users of their own; otherwise one user runs everything.
Each process is started with its own process group, and that group is ended by its number.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from peft import PeftModel

from fedpeft.privacy.ledger import verify
from fedpeft.privacy.policy import load_policy
from fedpeft.testing import tiny_backbone, tiny_config
from simulations.deployed.processes import PATIENCE_S, ROOT, Processes, environment, free_ports, listens
from tests.e2e.openers import Openers
from tests.e2e.users import COURIER_UID, SITE_UID, commands_for_all

DOCUMENT = (ROOT / "docs" / "deployment.md").read_text("utf-8")


def _told(text: str, beginning: str) -> list[str]:
    """The lines of a text's blocks of shell, indented or not, that begin so; without their comments."""
    blocks = re.findall(r"```(?:ba)?sh\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(beginning)]


def _follow(processes: Processes, line: str, words: dict[str, str], more: str = "") -> None:
    """Do what a document says, with names of this machine in the place of its examples."""
    for old, new in words.items():
        assert old in line, (old, line)
        line = line.replace(old, new)
    processes.call("sh", "-ec", f"{line} {more}")


class Organization:
    """One that followed the document, and the README that ``fedpeft init site`` made for it."""

    def __init__(
        self,
        processes: Processes,
        index: int,
        superlink: str,
        node_port: int,
        place: Path,
        commands: Path | None,
    ) -> None:
        self.identity, self.commands = f"site{index}", commands
        folder = self.folder = place / self.identity
        self.socket = place / f"run{index}" / "site.sock"
        (line,) = _told(DOCUMENT, "fedpeft init site st-mary")
        words = {"st-mary": self.identity, "fl.example.org:8000": superlink}
        _follow(processes, line, words, f"--socket {self.socket} --node-port {node_port}")
        if commands:
            self._as_root(processes, "install", "chown")
        else:
            self.socket.parent.mkdir(mode=0o750)
        shutil.move(place / f"site{index}.jsonl", folder / "site" / "records.jsonl")
        for part in ("site", "courier"):
            shutil.copy(place / "coordinator/certificates/ca.crt", folder / part)
        self._edit("policy.toml", "declared_units = 1000", "declared_units = 40")
        courier = str(COURIER_UID) if commands else "nobody"
        self._edit("SITE.toml", 'courier = "fedpeft-courier"', f'courier = "{courier}"')
        self._edit("SITE.toml", "rank = 8", "rank = 2")
        self._edit("SITE.toml", "max_length = 256", 'max_length = 64\ntask = "task"\nid = "id"')
        self._edit(
            "SITE.toml", "\n[model]\n", f'\n[run]\nthreads = 1\n[model]\nbackbone = "{place}/backbone"\n'
        )
        (folder / "site/records.jsonl").chmod(0o600)
        if commands:
            self._edit("../courier/node.sh", str(Path(sys.executable).parent), str(commands))
            self._as_root(processes, "chown")

    def _as_root(self, processes: Processes, *beginnings: str) -> None:
        """The README's commands for root, with numbers for users, who are not made for a test."""
        readme = (self.folder / "README.md").read_text("utf-8")
        lines = [line for beginning in beginnings for line in _told(readme, beginning)]
        assert len(lines) >= 4
        for line in lines:
            names = {
                "fedpeft-site": SITE_UID,
                "fedpeft-courier": COURIER_UID,
                " fedpeft ": f" {COURIER_UID} ",
            }
            _follow(processes, line, {old: str(new) for old, new in names.items() if old in line})

    def check(self) -> None:
        """The README's check of everything, as the user that it names."""
        readme = (self.folder / "README.md").read_text("utf-8")
        (line,) = [line for line in _told(readme, "runuser -u fedpeft-site -- ") if " site check " in line]
        command = line.split(" -- ")[1]
        if self.commands is None:
            command += " --one-user-trial"
        else:
            command = command.replace(str(Path(sys.executable).parent), str(self.commands))
        who = (
            {}
            if self.commands is None
            else {"user": SITE_UID, "group": SITE_UID, "extra_groups": [COURIER_UID]}
        )
        checked = subprocess.run(
            command.split(), cwd="/", env=environment(HOME=str(self.folder / "site")), capture_output=True,
            text=True, timeout=PATIENCE_S, **who,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "answers under the coordinator's certificate" in checked.stdout

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
    (place / "coordinator/run.toml").write_text(tomli_w.dumps(tables))


def test_two_organizations_train_over_real_processes(place: Path, processes: Processes) -> None:
    port, *node_ports = free_ports(3)
    tiny_config(place, num_sites=2)
    for file in (place / "backbone").iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone
    (line,) = _told(DOCUMENT, "fedpeft init coordinator")
    _follow(processes, line, {"fl.example.org": "127.0.0.1", "192.0.2.7": "localhost"}, f"--port {port}")
    _edit_run(place)
    processes.start("superlink", "sh", place / "coordinator/superlink.sh")
    commands = commands_for_all(place)
    organizations = [
        Organization(processes, i, f"127.0.0.1:{port}", node_ports[i], place, commands) for i in range(2)
    ]
    processes.wait_for("superlink", lambda: listens(port), "its port")
    processes.start("superexec", "sh", place / "coordinator/superexec.sh")
    organizations[0].check()
    openers = [Openers(organization.folder / "site/records.jsonl") for organization in organizations]
    for organization in organizations:
        key = organization.folder / "courier/keys/node.pub"
        processes.call("sh", place / "coordinator/register.sh", key)
        organization.start(processes)

    said = processes.call("sh", place / "coordinator/run.sh", place / "out")
    result_file = place / "out/result.json"
    assert result_file.exists(), said + processes.log("node of site0")
    result = json.loads(result_file.read_text())
    assert (result["stopped_because"], result["rounds_completed"]) == ("completed", 2)
    assert result["ledger_scope"] == "organization"
    assert result["epsilon"] == 8.0
    PeftModel.from_pretrained(tiny_backbone().model, str(place / "out/adapter"))
    for organization, opened in zip(organizations, openers, strict=True):
        assert _holders(organization.folder / "site/records.jsonl") <= {organization.site_pid}
        assert opened.found() == ({organization.site_pid} if opened.is_watching else set())
        opened.close()
        assert processes.stop(organization.identity) == 0
        folder = organization.folder / "site"
        (delivered,) = folder.glob("delivered/*/*")
        told = json.loads((delivered / "result.json").read_text())
        assert told == {k: v for k, v in result.items() if k not in ("seconds", "peak_rss_mb")}
        card = (delivered / "adapter/README.md").read_text("utf-8")
        said = "No privacy statement" if commands is None else "Everything this organization sent in this run"
        assert said in card
        assert _evaluates(processes, delivered / "adapter", folder / "records.jsonl")
        identity = organization.identity
        report = verify(folder / f"ledger/{identity}.sqlite", load_policy(folder / "policy.toml"))
        assert report.ok, report.problems
        assert (report.num_events, report.num_releases) == (2, 2)
        assert report.runs[0].epsilon_spent == pytest.approx(
            result["epsilon_spent_by_site"][identity], abs=1e-3
        )


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
