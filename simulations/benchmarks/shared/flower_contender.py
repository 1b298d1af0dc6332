# SPDX-License-Identifier: Apache-2.0
"""One run, by ``fedpeft simulate`` or by Flower's Ray engine, with the seconds of its training in a log.

``python -m simulations.benchmarks.shared.flower_contender WAY RUN.toml OUT LOG``, all paths absolute. Under
Ray the messages, handlers and the coordinator are those of ``flwr run``; only where the run's paths come
from differs, because ``run_simulation`` passes no run configuration.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY

from fedpeft.flower.apps import conduct_run, open_workspace
from fedpeft.flower.client import SitePort, build_client_app
from fedpeft.flower.server import build_server_app
from fedpeft.site import site as site_module

_RUN, _OUT, _LOG = "FEDPEFT_BENCHMARK_RUN", "FEDPEFT_BENCHMARK_OUT", "FEDPEFT_BENCHMARK_LOG"
NUM_CPUS_OF_ACTOR = 2


def find_site(context: Context) -> SitePort:
    """The site of a simulated node, in whatever process."""
    workspace = open_workspace(Path(os.environ[_RUN]), Path(os.environ[_OUT]))
    return workspace.site(int(context.node_config[PARTITION_ID_KEY]))


def _logged(update: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(update)
    def run(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = update(*arguments, **named)
        with Path(os.environ[_LOG]).open("a", encoding="ascii") as log:
            log.write(f"{time.perf_counter() - started}\n")
        return result

    return run


if __name__ != "__main__":  # once, in every process that trains: Ray's workers import this for find_site
    site_module.local_update = _logged(site_module.local_update)


def main(way: str, run: str, out: str, log: str) -> None:
    """Run it."""
    os.environ |= {_RUN: run, _OUT: out, _LOG: log}
    if way == "fedpeft":
        from fedpeft.cli import main as cli

        sys.exit(cli(["simulate", run, "--out", out, "--json"]))
    from flwr.simulation import run_simulation

    from fedpeft.config import load_config

    paths: dict[str, Any] = {"run": run, "out": out}
    run_simulation(
        build_server_app(lambda transport, _config: conduct_run(transport, paths)),
        build_client_app(find_site),
        num_supernodes=len(load_config(Path(run)).sites),
        backend_config={
            "init_args": {"num_cpus": NUM_CPUS_OF_ACTOR},
            "client_resources": {"num_cpus": NUM_CPUS_OF_ACTOR},
        },
    )


if __name__ == "__main__":
    # By its own name, so that Ray sends find_site by reference and a worker keeps what it has opened.
    from simulations.benchmarks.shared import flower_contender

    flower_contender.main(*sys.argv[1:])
