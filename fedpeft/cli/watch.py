# SPDX-License-Identifier: Apache-2.0
"""``fedpeft watch``: the page of a run as it goes on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command("watch", example=("watch runs/first", "watch runs/first --port 0 --covered-only"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--port", type=int, default=8765, show_default=True, help="Of this machine; 0 takes any that is free."
)
@click.option(
    "--covered-only",
    is_flag=True,
    help="Leave out what the guarantee does not cover: baselines, and exact figures of private records.",
)
def command(folder: Path, port: int, covered_only: bool) -> Answer:
    """Serve the page of the run in DIR, refreshing itself, until Ctrl-C.

    The run may be in progress or finished. The page can be seen from this machine only, by whoever knows the
    address that is printed, and changes nothing; from elsewhere, forward the port with ssh.
    """
    from fedpeft.report.watching import LOOPBACK, Watched, make_server

    watched = Watched(folder, only_covered=covered_only)
    server = make_server(watched, port)
    address = f"http://{LOOPBACK}:{server.server_port}{watched.place}"
    click.echo(f"{folder}: {address} (Ctrl-C ends it)", err=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.2)
    return Answer({"address": address}, f"{folder}: no longer served")
