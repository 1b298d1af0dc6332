# SPDX-License-Identifier: Apache-2.0
"""The apps that are deployed: loading is instant, simulated nodes only, one workspace a process."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import ServerApp

from fedpeft import flower
from fedpeft.errors import ConfigError, Refusal, RunDirectoryError
from fedpeft.flower import apps
from fedpeft.site.remote import RemoteSite
from fedpeft.types import RefusalCode


def _context(node_config, run_config=None):
    run_config = {"run": "/r/quick.toml", "out": ""} if run_config is None else run_config
    return Context(1, SUPERLINK_NODE_ID + 1, node_config, RecordDict(), run_config)


class TestReadPaths:
    def test_run_and_out(self):
        assert apps.read_paths({"run": "/r/a.toml", "out": "/o"}) == (Path("/r/a.toml"), Path("/o"))

    def test_the_folder_is_beside_the_toml_by_default(self):
        assert apps.read_paths({"run": "/r/a.toml", "out": ""})[1] == Path("/r/runs/a")

    def test_no_run_is_refused(self):
        with pytest.raises(ConfigError, match="run: names no run"):
            apps.read_paths({"run": "", "out": ""})

    @pytest.mark.parametrize("key", ["run", "out"])
    def test_a_relative_path_is_refused(self, key):
        with pytest.raises(ConfigError, match=f"{key}: 'here.toml' must be absolute"):
            apps.read_paths({"run": "/r/a.toml", "out": "/o", key: "here.toml"})


@pytest.fixture
def steps(monkeypatch):
    """What the apps do with a workspace and a run, in order; neither is real here."""
    done: list = []

    class Workspace:
        def __init__(self, config, out, sources):
            self.config = config
            done.append(("open", config.path, out, *([] if sources is None else [sources])))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            done.append(("close",))

        def site(self, index):
            return f"site {index}"

    run = SimpleNamespace(
        plan_of=lambda config: "plan",
        conduct=lambda workspace, plan, transport, checkpoint: (
            done.append(("conduct", plan, transport, *([] if checkpoint is None else [checkpoint]))) or ENDED
        ),
    )
    monkeypatch.setattr(apps, "deliver_run", lambda workspace, transport: done.append(("deliver", transport)))
    monkeypatch.setitem(sys.modules, "fedpeft.workspace", SimpleNamespace(Workspace=Workspace))
    sources = SimpleNamespace(without_records=lambda config: "no records")
    monkeypatch.setitem(sys.modules, "fedpeft.run_sources", sources)
    monkeypatch.setitem(sys.modules, "fedpeft.run", run)
    report = SimpleNamespace(write_report=lambda out: done.append(("report", out)))
    monkeypatch.setitem(sys.modules, "fedpeft.report", report)
    folder = SimpleNamespace(
        CONFIG_FILE="config.toml",
        alone_in=nullcontext,
        prepare_folder=lambda config, plan, out: done.append(("prepare", plan, out)),
        open_unfinished=lambda out: ("config", f"checkpoint in {out}"),
    )
    monkeypatch.setitem(sys.modules, "fedpeft.folder", folder)
    monkeypatch.setattr(
        "fedpeft.config.load_config",
        lambda path, files_must_exist: SimpleNamespace(
            path=path, data=SimpleNamespace(source="sites" if path.stem == "deployed" else "jsonl")
        ),
    )
    apps.open_workspace.cache_clear()
    yield done
    apps.open_workspace.cache_clear()


ENDED = {"stopped_because": "completed", "rounds_completed": 3}
OPENED = ("open", Path("/r/quick.toml"), Path("/r/runs/quick"))


def test_the_partition_chooses_the_site_and_the_workspace_is_opened_once(steps):
    found = [apps.find_site(_context({"partition-id": i})) for i in (0, 2, 1, 2)]
    assert found == ["site 0", "site 2", "site 1", "site 2"]
    assert steps == [OPENED]


def test_a_node_that_is_not_simulated_reads_nothing(steps):
    with pytest.raises(Refusal) as caught:
        apps.find_site(_context({"data-path": "/srv/notes.jsonl"}))
    assert caught.value.code is RefusalCode.POLICY
    assert steps == []


@pytest.mark.parametrize("node", [{}, {"partition-id": 0}])
def test_a_node_with_a_socket_is_its_resident_sites_courier(steps, node):
    site = apps.find_site(_context({"site-socket": "/run/fedpeft/site.sock", **node}))
    assert isinstance(site, RemoteSite)
    assert site._target == "unix:/run/fedpeft/site.sock"
    assert steps == []  # nothing of a run is opened


def test_the_coordinator_cannot_name_the_socket(steps):
    with pytest.raises(Refusal) as caught:
        apps.find_site(_context({}, {"run": "/r/a.toml", "site-socket": "/run/other.sock"}))
    assert caught.value.code is RefusalCode.POLICY
    with pytest.raises(Refusal, match="must be absolute"):
        apps.find_site(_context({"site-socket": "site.sock"}))
    assert steps == []


def test_a_run_is_conducted_in_a_folder_of_its_own_and_leaves_nothing_open(steps):
    apps.conduct_run("transport", {"run": "/r/quick.toml", "out": ""})
    folder = Path("/r/runs/quick")
    assert steps == [
        OPENED,
        ("prepare", "plan", folder),
        ("conduct", "plan", "transport"),
        ("report", folder),
        ("close",),
    ]
    apps.conduct_run("transport", {"run": "/r/quick.toml", "out": ""})
    assert steps[5] == OPENED


def test_a_resumed_run_is_the_folders_own(steps):
    apps.conduct_run("transport", {"run": "/r/other.toml", "out": "/o", "resume": True})
    assert steps == [
        ("open", Path("/o/config.toml"), Path("/o")),
        ("conduct", "plan", "transport", "checkpoint in /o"),
        ("report", Path("/o")),
        ("close",),
    ]


def test_the_coordinator_of_a_deployment_reads_no_sites_data(steps):
    apps.conduct_run("transport", {"run": "/r/deployed.toml", "out": ""})
    assert steps[0] == ("open", Path("/r/deployed.toml"), Path("/r/runs/deployed"), "no records")
    # Its sites get what it ended with before anything else is made of it.
    assert [step[0] for step in steps[-3:]] == ["deliver", "report", "close"]


@pytest.mark.parametrize("ended", [{"stopped_because": "interrupted"}, {"rounds_completed": 0}])
def test_what_is_not_ended_is_not_delivered(steps, monkeypatch, ended):
    monkeypatch.setattr(sys.modules["fedpeft.run"], "conduct", lambda *_, checkpoint: ENDED | ended)
    apps.conduct_run("transport", {"run": "/r/deployed.toml", "out": ""})
    assert [step[0] for step in steps] == ["open", "prepare", "report", "close"]


def test_a_run_that_fails_leaves_nothing_open_either(steps, monkeypatch):
    def fail(*args):
        raise RunDirectoryError("exists already")

    monkeypatch.setattr(sys.modules["fedpeft.folder"], "prepare_folder", fail)
    with pytest.raises(RunDirectoryError):
        apps.conduct_run("transport", {"run": "/r/quick.toml", "out": ""})
    assert steps == [OPENED, ("close",)]
    assert apps.open_workspace.cache_info().currsize == 0


def test_the_deployed_modules_export_the_apps():
    import client.app
    import server.app

    assert client.app.app is apps.client_app
    assert server.app.app is apps.server_app
    assert isinstance(client.app.app, ClientApp)
    assert isinstance(server.app.app, ServerApp)


def test_loading_an_app_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'peft', 'ray'}"
    code = f"import client.app, server.app, sys; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"


def test_flower_is_silent_before_it_is_imported_and_the_user_has_the_last_word():
    code = (
        "import fedpeft.flower, os, sys; assert 'flwr' not in sys.modules;"
        "print(os.environ['FLWR_TELEMETRY_ENABLED'], os.environ['RAY_USAGE_STATS_ENABLED'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in flower.ENVIRONMENT}
    run = {"capture_output": True, "text": True, "check": True}
    silent = subprocess.run([sys.executable, "-c", code], env=environment, **run)
    assert silent.stdout.split() == ["0", "0"]
    asked = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"FLWR_TELEMETRY_ENABLED": "1"}, **run
    )
    assert asked.stdout.split() == ["1", "0"]
