# SPDX-License-Identifier: Apache-2.0
"""Service units and container files: systemd understands them, and they keep the two users apart."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedpeft.deployment.init import init_site

ROOT = Path(__file__).parents[2]
UNITS = sorted([*ROOT.glob("client/*.service"), *ROOT.glob("server/*.service")])
CONTAINERS = [ROOT / "client/Containerfile", ROOT / "server/Containerfile"]


def _keys(unit: Path) -> dict[str, list[str]]:
    """Of all sections; a line that ends in a backslash goes on in the next."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").replace("\\\n", " ").splitlines():
        if line and not line.startswith(("#", "[")):
            key, sign, value = line.partition("=")
            assert sign, (unit, line)
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def made(tmp_path: Path) -> list[Path]:
    """The units that ``fedpeft init site`` makes for another organization than the example's."""
    init_site(tmp_path / "org", "cdc", "h:8000", accounts="inst", socket=Path("/run/x/cdc/site.sock"))
    return sorted((tmp_path / "org/systemd").iterdir())


def _verified(unit: Path, folder: Path) -> str:
    """What systemd says of a unit whose programs and folders are on this machine."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"^(User|Group)=.*", r"\1=root", text, flags=re.MULTILINE)
    copy = folder / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True
    )
    # It looks at the whole machine; other units' lines are not about this one.
    return "\n".join(line for line in done.stderr.splitlines() if unit.name in line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_every_unit(made: list[Path], tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for unit in [*UNITS, *made]:
        assert _verified(unit, tmp_path / "v") == ""
    broken = tmp_path / "fedpeft-broken.service"
    broken.write_text(UNITS[0].read_text() + "\n[Service]\nNoNewPrivilege=yes\nProtectSystem=stricter\n")
    assert "NoNewPrivilege" in _verified(broken, tmp_path / "v")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_unit_runs_as_root_or_may_become_somebody_else(unit: Path) -> None:
    keys = _keys(unit)
    assert keys["User"][0] not in ("", "root", "0")
    assert keys["NoNewPrivileges"] == ["yes"]
    assert keys["ProtectSystem"] == ["strict"]
    assert keys["UMask"] == ["0077"]


def test_the_site_is_alone_with_its_data(made: list[Path], tmp_path: Path) -> None:
    courier, site = (_keys(unit) for unit in made)
    assert (courier["User"], site["User"]) == (["inst-courier"], ["inst-site"])
    assert courier["Group"] == site["Group"] == ["inst"]
    own = str(tmp_path / "org/site")
    assert site["ReadWritePaths"] == [own]  # where the ledger is
    assert courier["InaccessiblePaths"] == [f"-{own}"]
    assert courier["ReadWritePaths"] == courier["WorkingDirectory"] == [str(tmp_path / "org/courier")]
    assert site["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert site["LimitCORE"] == ["0"]
    assert (site["RuntimeDirectory"], site["RuntimeDirectoryMode"]) == (["x/cdc"], ["0750"])
    for unit in made:
        assert not re.search(
            "st-mary|fedpeft-site|fedpeft-courier|/opt/fedpeft|/srv/fedpeft", unit.read_text()
        )
        for program in _keys(unit)["ExecStart"]:
            assert Path(program.split()[0]).is_file()


def test_a_socket_elsewhere_is_not_systemds_to_make(tmp_path: Path) -> None:
    init_site(tmp_path / "org", "cdc", "h:8000", socket=tmp_path / "run/site.sock")
    assert "RuntimeDirectory" not in _keys(tmp_path / "org/systemd/fedpeft-site.service")


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: file.parent.name)
def test_a_container_holds_the_wheel_and_runs_as_nobody_special(file: Path) -> None:
    lines = [line for line in file.read_text("utf-8").replace("\\\n", " ").splitlines() if line]
    words = [line.split() for line in lines if not line.startswith("#")]
    assert words[0][0] == "FROM"
    assert {line[0] for line in words} <= {"FROM", "ARG", "COPY", "RUN", "ENV", "USER", "CMD", "ENTRYPOINT"}
    users = [line[1] for line in words if line[0] == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    for line in (line for line in words if line[0] == "COPY"):
        for source in line[1:-1]:  # nothing of the repository but these
            assert source in ("constraints.txt", "dist/${WHEEL}")
    made = re.findall(r"useradd [^&]*?([a-z-]+)(?= |$)", " ".join(" ".join(line) for line in words))
    assert users[-1] in made or f"{users[-1]}" in file.read_text("utf-8").split("USER")[0]
