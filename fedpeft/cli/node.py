# SPDX-License-Identifier: Apache-2.0
"""``fedpeft node``: an organization's SuperNode, before Flower starts it."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

_EXAMPLE = "node check --superlink fl.example.org:8000 --certificate ca.crt --key keys/node"
_PATH = click.Path(path_type=Path)


@frame.group("node", example=_EXAMPLE)
def command() -> None:
    """Look whether the coordinator lets an organization's SuperNode in."""


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{value!r}: must be HOST:PORT")
    return value


@frame.command("check", example=_EXAMPLE, within=command)
@click.option("--superlink", required=True, callback=_address, help="The coordinator's HOST:PORT.")
@click.option("--certificate", required=True, type=_PATH, help="The coordinator's ca.crt.")
@click.option("--key", required=True, type=_PATH, help="The node's private key.")
@click.option("--wait", is_flag=True, help="Wait as long as nobody listens there.")
def check(superlink: str, certificate: Path, key: Path, wait: bool) -> Answer:
    """Ask the coordinator, as the courier's user; exit 1 with a line of what to mend if it would refuse."""
    from fedpeft.deployment.coordinator import Where
    from fedpeft.deployment.finding import are_good, to_json, to_text
    from fedpeft.deployment.node import node_findings, wait_until_it_answers

    where = Where(superlink, certificate, "--superlink", "--certificate")
    if wait:
        wait_until_it_answers(where, lambda text: click.echo(text, err=True))
    found = list(node_findings(where, key))
    good = are_good(found)
    return Answer({"ready": good, "findings": to_json(found)}, to_text(found), 0 if good else 1)
