# SPDX-License-Identifier: Apache-2.0
"""The two apps that ``client/app.py`` and ``server/app.py`` re-export, for ``flwr run``.

The run is the TOML that the run configuration names: ``flwr run . -c 'run="/absolute/run.toml"'``. What is
heavy is imported when a message arrives, so that loading an app is instant.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY

from fedpeft.delivery import DeliveringTransport
from fedpeft.errors import ConfigError, FedpeftError, Refusal
from fedpeft.flower.client import SitePort, build_client_app
from fedpeft.flower.delivering import deliver_run
from fedpeft.flower.grid import Config
from fedpeft.flower.server import build_server_app
from fedpeft.types import RefusalCode

if TYPE_CHECKING:
    from fedpeft.config import RunConfig
    from fedpeft.workspace import Workspace

_log = logging.getLogger(__name__)

SOCKET_KEY = "site-socket"
"""Of a SuperNode's ``--node-config``: the absolute path of its organization's socket."""


def find_site(context: Context) -> SitePort:
    """The resident site that a node's own configuration names, or the site of a simulated node.

    The run configuration has no say in it: that is the coordinator's word, which must not choose what is
    read or reached on an organization's machine.

    Raises:
        Refusal: the node names no socket, and is no simulated one.
    """
    node = context.node_config
    if SOCKET_KEY in node:
        return _behind(str(node[SOCKET_KEY]))
    if PARTITION_ID_KEY not in node:
        raise Refusal(
            RefusalCode.POLICY,
            f"""{SOCKET_KEY}: absent; start the SuperNode with --node-config '{SOCKET_KEY}="/path.sock"'""",
        )
    return open_workspace(*read_paths(context.run_config)).site(int(node[PARTITION_ID_KEY]))


def _behind(socket: str) -> SitePort:
    from fedpeft.site.remote import RemoteSite

    if not Path(socket).is_absolute():
        raise Refusal(RefusalCode.UNAVAILABLE, f"{SOCKET_KEY} = {socket!r}: must be absolute")
    return RemoteSite(Path(socket))


def conduct_run(transport: DeliveringTransport, run_config: Config) -> None:
    """Plan and conduct the run; its folder must not exist yet, or be empty. A deployment's sites get the end.

    With ``resume=true`` in the run configuration, go on with the run in the folder instead; with
    ``deliver=true`` only bring its sites what is there.

    Raises:
        RunDirectoryError: the folder is in use, by another process if need be, or there is nothing in it to
            go on with.
    """
    from fedpeft.folder import CONFIG_FILE, alone_in, open_unfinished, prepare_folder
    from fedpeft.report import write_report
    from fedpeft.run import conduct, plan_of

    path, out = read_paths(run_config)
    is_resumed, is_delivery = (bool(run_config.get(key, False)) for key in ("resume", "deliver"))
    checkpoint = open_unfinished(out)[1] if is_resumed else None
    try:
        with open_workspace(out / CONFIG_FILE if is_resumed or is_delivery else path, out) as workspace:
            if is_delivery:
                transport.describe(len(workspace.config.sites), workspace.config.federation.deadline_s)
                deliver_run(workspace, transport)
                return
            plan = plan_of(workspace.config)
            if not is_resumed:
                prepare_folder(workspace.config, plan, out)
            with alone_in(out):
                result = conduct(workspace, plan, transport, checkpoint=checkpoint)
                is_ended = result["stopped_because"] != "interrupted" and result["rounds_completed"] > 0
                if is_ended and _is_deployment(workspace.config):
                    deliver_run(workspace, transport)
                write_report(out)
    except FedpeftError as error:
        _log.error("the run cannot go on: %s", error)  # Flower tells it by a traceback alone
        raise
    finally:
        open_workspace.cache_clear()


@functools.cache
def open_workspace(path: Path, out: Path) -> Workspace:
    """Load backbone and data once in a process, not for every message."""
    from fedpeft.config import load_config
    from fedpeft.run_sources import without_records
    from fedpeft.workspace import Workspace

    config = load_config(path, files_must_exist=True)
    return Workspace(config, out, sources=without_records(config) if _is_deployment(config) else None)


def _is_deployment(config: RunConfig) -> bool:
    return config.data.source == "sites"


def read_paths(run_config: Config) -> tuple[Path, Path]:
    """The run's TOML and its folder, by default ``runs/NAME`` beside the TOML.

    Raises:
        ConfigError: no TOML is named, or a path depends on the folder that a process stands in.
    """
    run, out = str(run_config.get("run", "")), str(run_config.get("out", ""))
    if not run:
        raise ConfigError("""run: names no run; give -c 'run="/absolute/path/of/run.toml"'""")
    for key, text in (("run", run), ("out", out)):
        if text and not Path(text).is_absolute():
            raise ConfigError(f"""{key}: {text!r} must be absolute; give -c '{key}="/absolute/path"'""")
    path = Path(run)
    return path, Path(out) if out else path.parent / "runs" / path.stem


client_app = build_client_app(find_site)
server_app = build_server_app(conduct_run)
