# SPDX-License-Identifier: Apache-2.0
"""Environments for peers that are no dependency: all of this one, and the peer on top."""

from __future__ import annotations

import importlib.util
import site
import subprocess
import sys
import venv
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_FOLDER = _ROOT / "simulations" / ".peers"


def python_with(module: str, requirement: str) -> str:
    """A Python that has this environment's packages and ``module``.

    This one where it has the module; else one that is made in ``simulations/.peers`` and sees this
    environment's packages, so that the peer alone is installed.

    Args:
        module: that must be importable.
        requirement: what pip installs for it, held to ``constraints.txt``.

    Raises:
        subprocess.CalledProcessError: it cannot be installed.
    """
    if importlib.util.find_spec(module):
        return sys.executable
    return str(make_environment(_FOLDER / module, requirement))


def make_environment(folder: Path, requirement: str) -> Path:
    """Make it unless it is there; returns its Python."""
    python = folder / "bin" / "python"
    if (folder / "complete").is_file():
        return python
    venv.create(folder, clear=True, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    constraints = ["--constraint", str(_ROOT / "constraints.txt")]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *constraints, requirement],
        check=True,
        stdout=sys.stderr,
    )
    (folder / "complete").touch()
    return python
