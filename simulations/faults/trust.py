# SPDX-License-Identifier: Apache-2.0
"""Nodes that must not be let in, and coordinators that must not be trusted: what is said, and by whom.

A SuperNode is started against the trial's SuperLink, or against another one with a fault; ``fedpeft site
check`` looks at the same. Nobody may get in, and a line must say what to mend.
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
from pathlib import Path

from fedpeft.deployment.authority import AUTHORITY_DAYS, Pair, make_authority, make_node_key, make_server
from simulations.deployed.processes import environment, free_ports, listens
from simulations.faults.trial import Findings, Scenario, Trial

_SEES_S = 40.0
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


def _wrong_root(trial: Trial, findings: Findings) -> None:
    """The organization has the certificate of another authority."""
    other = trial.place / "other.crt"
    other.write_bytes(make_authority("other").public)
    _refused(trial, findings, root=other)
    _checked(trial, findings, "is not of this root", root=other)


def _expired(trial: Trial, findings: Findings) -> None:
    """The coordinator's certificates were valid until yesterday."""
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=AUTHORITY_DAYS + 1)
    authority = make_authority("trial", long_ago)
    with _superlink(trial, authority.public, make_server(authority, ["127.0.0.1"], long_ago)) as (port, root):
        _refused(trial, findings, root=root, port=port)
        _checked(trial, findings, "certificate has expired", root=root, port=port)


def _unregistered(trial: Trial, findings: Findings) -> None:
    """A key that the coordinator was never told of; only Flower can know."""
    key = trial.place / "stranger"
    key.write_bytes(make_node_key("stranger").key)
    key.chmod(0o600)
    said = _refused(trial, findings, key=key)
    lines = [line for line in said.splitlines() if "code: 2004" in line or "registered" in line]
    findings.expect(bool(lines), f"no line names the registration: {said[-300:]}")


def _no_tls(trial: Trial, findings: Findings) -> None:
    """The coordinator's SuperLink speaks no TLS."""
    with _superlink(trial, None, None) as (port, _):
        root = trial.place / "c/certificates/ca.crt"
        _refused(trial, findings, root=root, port=port)
        _checked(trial, findings, "does not speak TLS", root=root, port=port)


def _clock(trial: Trial, findings: Findings) -> None:
    """The organization's clock is ten minutes slow."""
    _refused(trial, findings, program=(sys.executable, "-m", "simulations.faults.sick_node", "clock"))
    _checked(trial, findings, "clock:", program=(sys.executable, "-m", "simulations.faults.slow_check"))


SCENARIOS: dict[str, Scenario] = {
    "another root certificate": _wrong_root,
    "expired certificate": _expired,
    "unregistered key": _unregistered,
    "no TLS": _no_tls,
    "clock 10 minutes off": _clock,
}


def _refused(
    trial: Trial,
    findings: Findings,
    *,
    root: Path | None = None,
    key: Path | None = None,
    port: int | None = None,
    program: tuple[str, ...] = (),
) -> str:
    """Start a node; it must not be let in. What it wrote."""
    site = trial.sites[1]
    trial.processes.stop("node-site1")
    script = (site.folder / "courier/node.sh").read_text()
    script = script.replace("--root-certificates ca.crt", f"--root-certificates {root or 'ca.crt'}")
    script = script.replace("keys/node", str(key or "keys/node"))
    script = script.replace(
        f"127.0.0.1:{trial.deployment.port}", f"127.0.0.1:{port or trial.deployment.port}"
    )
    if program:
        script = script.replace("exec flower-supernode", f"exec {shlex.join(program)}")
    (site.folder / "courier/trial.sh").write_text(script)
    name = f"trial-{trial.out()}"
    try:
        trial.processes.start(name, "sh", site.folder / "courier/trial.sh")
        trial.processes.wait(
            lambda: not trial.processes.runs(name) or _ended(trial.processes.log(name)),
            "the node's end",
            patience_s=_SEES_S,
        )
    finally:
        if trial.processes.runs(name):
            trial.processes.stop(name)
        trial.deployment.start_node(site)
    said = trial.processes.log(name)
    let_in = "Starting Flower ClientApp" in said or "Pull" in said
    findings.expect(not let_in and _ended(said), f"the node was let in: {said[-300:]}")
    shown = [
        line.strip() for line in said.splitlines() if "rror" in line or "code:" in line or "Code" in line
    ]
    findings.facts["node_says"] = [
        _COLOURS.sub("", line).removeprefix("ERROR").strip(": ") for line in shown[:3]
    ]
    return said


def _at(port: int | None, trial: Trial, text: str) -> str:
    """With the address of another SuperLink, if there is one."""
    own = trial.deployment.port
    return text.replace(f"127.0.0.1:{own}", f"127.0.0.1:{port or own}")


def _ended(said: str) -> bool:
    return any(word in said for word in ("Exit Code", "CERTIFICATE", "SSL", "Retry", "retry", "attempt"))


def _checked(
    trial: Trial,
    findings: Findings,
    mend: str,
    *,
    root: Path | None = None,
    port: int | None = None,
    program: tuple[str, ...] = (),
) -> None:
    """``fedpeft site check`` names it in one line."""
    site = trial.sites[1]
    text = site.site_file.read_text()
    text = _at(port, trial, text)
    text = text.replace('certificate = "ca.crt"', f'certificate = "{root or "ca.crt"}"')
    changed = site.site_file.with_name("CHECKED.toml")
    changed.write_text(text)
    changed.chmod(0o600)
    command = program or (str(Path(sys.executable).parent / "fedpeft"),)
    done = subprocess.run(
        [*command, "site", "check", str(changed), "--one-user-trial", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    wrong = [finding["text"] for finding in json.loads(done.stdout)["findings"] if not finding["good"]]
    found = [line for line in wrong if mend in line]
    findings.expect(bool(found), f"site check says {wrong or done.stderr[-300:]}")
    if found:
        findings.facts["line"] = found[0].replace(str(trial.place), "DIR")


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
