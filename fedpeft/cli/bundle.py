# SPDX-License-Identifier: Apache-2.0
"""``fedpeft bundle``: signatures of the code that the coordinator uploads."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

_file = click.argument("bundle", metavar="BUNDLE.fab", type=click.Path(path_type=Path))


@frame.group("bundle", example="bundle sign fedpeft.fab --key reviewer --name st-mary")
def command() -> None:
    """Sign the bundle that a run sends to nodes, or give it with its signatures to the SuperLink."""


@frame.command("sign", example="bundle sign fedpeft.fab --key reviewer --name st-mary", within=command)
@_file
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="Private ed25519 key in OpenSSH's format."
)
@click.option("--name", required=True, help="Of the key in the file of --trusted-entities.")
def sign(bundle: Path, key: Path, name: str) -> Answer:
    """Sign a bundle that you have read; the signature stands beside it in BUNDLE.fab.NAME.json."""
    import json
    import time

    from fedpeft.deployment.bundles import sign

    signature = sign(_read(bundle), _read(key), name, int(time.time()))
    path = bundle.with_name(f"{bundle.name}.{Path(name).name}.json")
    path.write_text(json.dumps(signature, indent=2) + "\n", encoding="utf-8")
    return Answer({"signature": str(path)}, f"{path}: send it to the coordinator")


@frame.command("serve", example="bundle serve fedpeft.fab fedpeft.fab.st-mary.json", within=command)
@_file
@click.argument("signatures", metavar="SIGNATURE.json...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--port", default=8001, type=click.IntRange(0, 65535), help="On the loopback; default: 8001.")
def serve(bundle: Path, signatures: tuple[Path, ...], port: int) -> Answer:
    """Give a bundle with its signatures to the SuperLink of this machine, until interrupted."""
    import contextlib
    import json

    from fedpeft.deployment.bundles import Hub
    from fedpeft.errors import UserError

    found = []
    for path in signatures:
        try:
            found.append(json.loads(_read(path)))
        except ValueError as error:
            raise UserError(f"{path}: is no signature; make it with `fedpeft bundle sign`") from error
    with Hub(_read(bundle), found, port) as hub, contextlib.suppress(KeyboardInterrupt):
        click.echo(f"{bundle.name} with {len(found)} signatures at {hub.url}", err=True)
        hub.serve_forever()
    return Answer({"stopped": True}, "stopped")


def _read(path: Path) -> bytes:
    from fedpeft.errors import UserError

    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file that is there") from error
