# SPDX-License-Identifier: Apache-2.0
"""Users for tests that are root's: commands of this installation that each of them may run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from simulations.deployed.processes import ROOT

SITE_UID, COURIER_UID = 54321, 65534
_COMMANDS = ("fedpeft", "flwr", "flower-supernode", "flower-superexec", "flwr-clientapp")


def commands_for_all(place: Path) -> Path | None:
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
    for name in _COMMANDS:
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
