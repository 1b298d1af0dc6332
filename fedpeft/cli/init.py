# SPDX-License-Identifier: Apache-2.0
"""``fedpeft init``: the working folder of a party of a deployment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


def _word(pattern: str, rule: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Accept what may stand in names of files, in TOML and in shell commands as it is."""
    allowed = re.compile(pattern)

    def check(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        for text in value if isinstance(value, tuple) else (value,):
            if allowed.fullmatch(text) is None:
                raise click.BadParameter(f"{text!r}: must be {rule}")
        return value

    return check


_name = _word(r"[A-Za-z][A-Za-z0-9-]{0,39}", "a word of letters, digits and dashes")
_identity = _word(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, dots, dashes, at most 64")
_account = _word(r"[a-z][a-z0-9-]{0,22}", "lower case letters, digits and dashes, at most 23")
_host = _word(r"[A-Za-z0-9.:-]{1,253}", "a name or an address")
_address = _word(r"[A-Za-z0-9.\[\]:-]{1,253}:[0-9]{1,5}", "HOST:PORT")
_PORT = click.IntRange(1, 65535)


@frame.group("init", example="init coordinator clinic-net --host fl.example.org")
def command() -> None:
    """Make the working folder of a coordinator or of an organization."""


@frame.command(
    "coordinator",
    example="init coordinator coordinator --name clinics --host fl.example.org --host 192.0.2.7",
    within=command,
)
@_folder
@click.option("--name", callback=_name, default="federation", help="Of the federation.")
@click.option(
    "--host",
    "hosts",
    callback=_host,
    multiple=True,
    required=True,
    help="A name or address of this machine, for its certificate; organizations use the first.",
)
@click.option("--port", type=_PORT, default=8000, help="Of the SuperLink; default: 8000.")
def coordinator(folder: Path, name: str, hosts: tuple[str, ...], port: int) -> Answer:
    """Make certificates, a run's TOML, Flower's app and the commands to start them."""
    from fedpeft.deployment.init import init_coordinator

    return _answer(folder, init_coordinator(folder, name, hosts, port))


@frame.command(
    "site", example="init site st-mary --identity st-mary --superlink fl.example.org:8000", within=command
)
@_folder
@click.option("--identity", callback=_identity, required=True, help="Of the organization's policy.")
@click.option("--superlink", callback=_address, required=True, help="The coordinator's HOST:PORT.")
@click.option("--socket", type=click.Path(path_type=Path), help="Default: /run/fedpeft/IDENTITY/site.sock.")
@click.option("--node-port", type=_PORT, default=9094, help="Of the SuperNode, on the loopback interface.")
@click.option(
    "--accounts",
    callback=_account,
    default="fedpeft",
    help="Users are ACCOUNTS-site and ACCOUNTS-courier, in the group ACCOUNTS; default: fedpeft.",
)
def site(
    folder: Path, identity: str, superlink: str, socket: Path | None, node_port: int, accounts: str
) -> Answer:
    """Make a policy, a SITE.toml, a node's key and the commands to start site and SuperNode."""
    from fedpeft.deployment.init import init_site

    socket = socket.absolute() if socket else None
    made = init_site(folder, identity, superlink, socket=socket, node_port=node_port, accounts=accounts)
    return _answer(folder, made)


def _answer(folder: Path, made: list[Path]) -> Answer:
    readme = folder / "README.md"
    return Answer(
        {"folder": str(folder), "files": [str(path) for path in made]},
        f"{len(made)} files are in {folder}; {readme} says what to do next",
    )
