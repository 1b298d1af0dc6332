# SPDX-License-Identifier: Apache-2.0
"""The ServerApp: turns a Grid into a transport and hands over to whatever conducts the run."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedpeft.flower.grid import Config
from fedpeft.flower.transport import FlowerTransport

Conduct = Callable[[FlowerTransport, Config], None]


def build_server_app(conduct: Conduct) -> ServerApp:
    """A ServerApp that conducts one run.

    Args:
        conduct: called once with a transport and the run configuration that ``flwr run`` was given; what it
            raises ends the run as failed.
    """
    app = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        conduct(FlowerTransport(grid), dict(context.run_config))

    app.main()(main)
    return app
