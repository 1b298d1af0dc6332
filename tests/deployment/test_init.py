# SPDX-License-Identifier: Apache-2.0
"""What ``fedpeft init`` makes can be used as it is: parsed, loaded, run by a shell, built into a bundle."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_files

from fedpeft.config import load_config
from fedpeft.deployment.init import init_coordinator, init_site
from fedpeft.deployment.site_file import load_site_file
from fedpeft.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # flwr 1.41's


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    init_coordinator(tmp_path / "c", "clinics", ["fl.example.org", "127.0.0.1"], 8443)
    return tmp_path / "c"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    init_site(tmp_path / "s", "st-mary", "fl.example.org:8443", node_port=9101)
    return tmp_path / "s"


def test_the_coordinators_run_is_one_of_a_deployment(coordinator: Path) -> None:
    config = load_config(coordinator / "run.toml", files_must_exist=True)
    assert config.data.source == "sites"
    assert config.evaluation.records == 0
    assert len(config.sites) == 2


def test_flower_finds_the_superlink_and_builds_the_bundle(coordinator: Path) -> None:
    flower = tomllib.loads((coordinator / "flower/config.toml").read_text())["superlink"]
    link = flower[flower["default"]]
    assert link["address"] == "fl.example.org:8443"
    assert Path(link["root-certificates"]) == coordinator / "certificates/ca.crt"
    app = coordinator / "app"
    names = {path.relative_to(app).as_posix(): path for path in app.rglob("*") if path.is_file()}
    assert {"client/app.py", "server/app.py"} <= set(names)
    assert build_fab_from_files(names)[0]


def test_keys_are_their_owners_and_what_is_sent_is_public(coordinator: Path, site: Path) -> None:
    secret = ["certificates/ca.key", "certificates/server.key"]
    assert {(coordinator / name).stat().st_mode & 0o777 for name in secret} == {0o600}
    secret = ["site/policy.toml", "site/SITE.toml", "courier/keys/node"]
    assert {(site / name).stat().st_mode & 0o777 for name in secret} == {0o600}
    assert {(site / name).stat().st_mode & 0o777 for name in ("site", "courier")} == {0o700}
    assert b"PRIVATE" not in (site / "courier/keys/node.pub").read_bytes()
    assert b"PRIVATE" not in (coordinator / "certificates/ca.crt").read_bytes()


def test_an_organizations_files_go_together(site: Path) -> None:
    (site / "site/records.jsonl").write_text("")
    file = load_site_file(site / "site/SITE.toml")
    assert file.policy.identity == "st-mary" == file.config.sites[0].name
    assert file.policy.crash_reserve == 2
    assert str(file.keys.socket) == "/run/fedpeft/st-mary/site.sock"
    node = (site / "courier/node.sh").read_text()
    assert f"""--node-config 'site-socket="{file.keys.socket}"'""" in node
    assert "--port 9101" in node
    assert file.keys.courier in (site / "README.md").read_text()


def test_the_commands_are_shell(coordinator: Path, site: Path) -> None:
    scripts = [*coordinator.glob("*.sh"), *site.rglob("*.sh")]
    assert len(scripts) == 10
    for script in scripts:
        subprocess.run(["sh", "-n", str(script)], check=True)
        text = script.read_text()
        assert "$$" not in text, script
        assert script.name == "environment.sh" or script.stat().st_mode & 0o100


def test_a_folder_in_use_is_left_alone(coordinator: Path, site: Path) -> None:
    for make in (
        lambda: init_coordinator(coordinator, "x", ["h"], 1),
        lambda: init_site(site, "x", "h:1"),
    ):
        with pytest.raises(UserError, match="not empty"):
            make()


def test_a_host_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--host"):
        init_coordinator(tmp_path / "c", "x", ["höst"], 1)


def test_two_parties_share_no_key(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        init_site(tmp_path / name, name, "h:1")
        keys.add((tmp_path / name / "courier/keys/node").read_bytes())
    assert len(keys) == 2
