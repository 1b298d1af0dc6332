# SPDX-License-Identifier: Apache-2.0
"""Nodes that must not be let in, and coordinators that must not be trusted: what is said, and by whom.

A SuperNode is started against the trial's SuperLink, or against another one with a fault: as it is installed,
and without the check that ``node.sh`` begins with; ``fedpeft site check`` looks at the same. Nobody may get
in, and a line must say what to mend.
"""

from __future__ import annotations

import datetime
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedpeft.deployment.authority import (
    AUTHORITY_DAYS,
    SERVER_DAYS,
    Pair,
    make_authority,
    make_node_key,
    make_server,
)
from simulations.deployed.processes import TrialError, environment, free_ports, listens
from simulations.faults.trial import Findings, Scenario, Trial

_SEES_S = 40.0
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_CHECK = "fedpeft node check"
_LET_IN = "SuperNode ID:"
_LET_IN_AGAIN_S = 150.0  # a minute after it left
_FEDPEFT = (str(Path(sys.executable).parent / "fedpeft"),)
_SLOW = (sys.executable, "-m", "simulations.faults.slow_check")
"""The command where the clock is ten minutes slow."""


def _wrong_root(trial: Trial, findings: Findings) -> None:
    """The organization has the certificate of another authority."""
    other = trial.place / "other.crt"
    other.write_bytes(make_authority("other").public)
    _refused(trial, findings, "is not of this root", _Case(root=other))


def _expired(trial: Trial, findings: Findings) -> None:
    """The coordinator's certificates were valid until yesterday."""
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=AUTHORITY_DAYS + 1)
    authority = make_authority("trial", long_ago)
    with _superlink(trial, authority.public, make_server(authority, ["127.0.0.1"], long_ago)) as (port, root):
        _refused(trial, findings, "ask the coordinator for a new one", _Case(root=root, port=port))


def _expired_server(trial: Trial, findings: Findings) -> None:
    """The server's certificate has ended, its authority's has not."""
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=SERVER_DAYS + 1)
    authority = make_authority("trial", long_ago)
    with _superlink(trial, authority.public, make_server(authority, ["127.0.0.1"], long_ago)) as (port, root):
        _refused(trial, findings, "certificate has expired", _Case(root=root, port=port))


def _unregistered(trial: Trial, findings: Findings) -> None:
    """A key that the coordinator was never told of; only whoever has the key can ask."""
    key = trial.place / "stranger"
    key.write_bytes(make_node_key("stranger").key)
    key.chmod(0o600)
    _refused(trial, findings, "is not registered", _Case(key=key), site_sees=False)


def _no_tls(trial: Trial, findings: Findings) -> None:
    """The coordinator's SuperLink speaks no TLS."""
    with _superlink(trial, None, None) as (port, _):
        root = trial.place / "c/certificates/ca.crt"
        _refused(trial, findings, "does not speak TLS", _Case(root=root, port=port))


def _clock(trial: Trial, findings: Findings) -> None:
    """The organization's clock is ten minutes slow."""
    node = (sys.executable, "-m", "simulations.faults.sick_node", "clock")
    _refused(trial, findings, "set the clock", _Case(fedpeft=_SLOW, node=node))


SCENARIOS: dict[str, Scenario] = {
    "another root certificate": _wrong_root,
    "expired certificate": _expired,
    "expired certificate of the server": _expired_server,
    "unregistered key": _unregistered,
    "no TLS": _no_tls,
    "clock 10 minutes off": _clock,
}


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is different from a node that is let in; ``None`` where nothing is."""

    root: Path | None = None
    key: Path | None = None
    port: int | None = None
    fedpeft: tuple[str, ...] = _FEDPEFT
    node: tuple[str, ...] = ("flower-supernode",)


def _refused(trial: Trial, findings: Findings, mend: str, case: _Case, *, site_sees: bool = True) -> None:
    """Nobody gets in: not as installed, where a line says what to mend, nor past the check of ``node.sh``."""
    trial.processes.stop("node-site1")
    try:
        said = _start(trial, case, "as installed", checks=True)
        lines = [line.removeprefix("MEND").strip() for line in said.splitlines() if line.startswith("MEND")]
        findings.expect(len(lines) == 1 and mend in lines[0], f"the node's check says {lines or said[-300:]}")
        findings.expect(_LET_IN not in said, "the node was let in")
        findings.facts["line"] = lines[0].replace(str(trial.place), "DIR") if lines else ""
        bare = _start(trial, case, "unchecked", checks=False)
        findings.expect(_LET_IN not in bare, f"Flower let the node in: {bare[-300:]}")
        findings.facts["node_says"] = _shown(bare)
    finally:
        trial.deployment.start_node(trial.sites[1])
    if site_sees:
        _checked(trial, findings, mend, case)
    trial.processes.wait(  # the control: the words that tell a node that is let in
        lambda: _LET_IN in trial.new_text("node-site1"), "the node of before", patience_s=_LET_IN_AGAIN_S
    )


def _start(trial: Trial, case: _Case, name: str, *, checks: bool) -> str:
    """Start a node until it ends or repeats itself; what it wrote."""
    courier = trial.sites[1].folder / "courier"
    script = _at(case.port, trial, (courier / "node.sh").read_text())
    for old, new in (
        ("--certificate ca.crt", f"--certificate {case.root or 'ca.crt'}"),
        ("--root-certificates ca.crt", f"--root-certificates {case.root or 'ca.crt'}"),
        ("keys/node", str(case.key or "keys/node")),
        (_CHECK, f"{shlex.join(case.fedpeft)} node check" if checks else f"true {_CHECK}"),
        ("exec flower-supernode", f"exec {shlex.join(case.node)}"),
    ):
        if old not in script:
            raise TrialError(f"{courier}/node.sh: has no {old!r}")
        script = script.replace(old, new)
    (courier / "trial.sh").write_text(script)
    name = f"trial-{trial.out()}-{name}"
    trial.processes.start(name, "sh", courier / "trial.sh")
    try:
        trial.processes.wait(
            lambda: not trial.processes.runs(name) or _repeats(trial.processes.log(name)),
            "the node's end",
            patience_s=_SEES_S,
        )
    finally:
        if trial.processes.runs(name):
            trial.processes.stop(name)
    return trial.processes.log(name)


def _repeats(said: str) -> bool:
    return _LET_IN in said or any(word in said for word in ("Exit Code", "retrying", "attempt"))


def _shown(said: str) -> list[str]:
    """The lines of Flower's that tell something about the end."""
    words = ("rror", "code:", "Code", "terminated")
    lines = [_COLOURS.sub("", line).strip() for line in said.splitlines() if any(w in line for w in words)]
    return [line.removeprefix("ERROR").removeprefix("INFO").strip(": ") for line in lines[:3]]


def _at(port: int | None, trial: Trial, text: str) -> str:
    """With the address of another SuperLink, if there is one."""
    own = trial.deployment.port
    return text.replace(f"127.0.0.1:{own}", f"127.0.0.1:{port or own}")


def _checked(trial: Trial, findings: Findings, mend: str, case: _Case) -> None:
    """``fedpeft site check`` names it in one line too."""
    site = trial.sites[1]
    text = _at(case.port, trial, site.site_file.read_text())
    text = text.replace('certificate = "ca.crt"', f'certificate = "{case.root or "ca.crt"}"')
    changed = site.site_file.with_name("CHECKED.toml")
    changed.write_text(text)
    changed.chmod(0o600)
    done = subprocess.run(
        [*case.fedpeft, "site", "check", str(changed), "--one-user-trial", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    wrong = [finding["text"] for finding in json.loads(done.stdout)["findings"] if not finding["good"]]
    findings.expect(any(mend in line for line in wrong), f"site check says {wrong or done.stderr[-300:]}")


@contextmanager
def _superlink(trial: Trial, root: bytes | None, server: Pair | None) -> Iterator[tuple[int, Path]]:
    """Another SuperLink: with certificates of its own, or without any."""
    (port,) = free_ports(1)
    folder = trial.place / f"link{port}"
    folder.mkdir()
    options: list[object] = ["--insecure"]
    if root is not None and server is not None:
        for name, content in {"ca.crt": root, "server.pem": server.public, "server.key": server.key}.items():
            (folder / name).write_bytes(content)
        options = ["--ssl-ca-certfile", folder / "ca.crt", "--ssl-certfile", folder / "server.pem"]
        options += ["--ssl-keyfile", folder / "server.key", "--enable-supernode-auth"]
    name = f"link{port}"
    flower = {"FLWR_HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    trial.processes.start(
        name, "flower-superlink", "--host", "127.0.0.1", "--port", port, "--isolation", "process",
        "--disable-runtime-dependency-installation", *options, more=flower,
    )  # fmt: skip
    try:
        trial.processes.wait_for(name, lambda: listens(port), "the other SuperLink's port")
        yield port, folder / "ca.crt"
    finally:
        trial.processes.stop(name)
