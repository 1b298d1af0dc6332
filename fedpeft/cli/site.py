# SPDX-License-Identifier: Apache-2.0
"""``fedpeft site``: an organization's resident side."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.group("site", example="site check SITE.toml")
def command() -> None:
    """Serve an organization's data to its courier under its own policy, or check that all is ready."""


_path = click.argument("path", metavar="SITE.toml", type=click.Path(path_type=Path))
_trial = click.option(
    "--one-user-trial",
    is_flag=True,
    help="For a trial with public data: one user runs site and courier, so nothing keeps them apart.",
)


@frame.command("serve", example="site serve /etc/fedpeft/SITE.toml", within=command)
@_path
@_trial
def serve(path: Path, one_user_trial: bool) -> Answer:
    """Load backbone, data, policy and ledger, and answer the courier until told to stop (SIGTERM)."""
    import logging
    import os
    import sys

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
    )
    from fedpeft.deployment.resident import serve
    from fedpeft.deployment.site_file import load_site_file

    if not serve(load_site_file(path), one_user_trial=one_user_trial):
        logging.getLogger(__name__).warning("a request was cut off; its charge stays in the ledger")
        sys.stderr.flush()
        os._exit(1)  # the thread that works on it would keep the process
    return Answer({"stopped": True}, "stopped")


@frame.command("check", example="site check /etc/fedpeft/SITE.toml", within=command)
@_path
@_trial
def check(path: Path, one_user_trial: bool) -> Answer:
    """Look at access, policy, budget, data, versions, certificate and coordinator; exit 1 if one is wrong."""
    from fedpeft.deployment.checks import check_site
    from fedpeft.deployment.finding import are_good, to_json, to_text
    from fedpeft.deployment.site_file import load_site_file

    found = check_site(load_site_file(path), one_user_trial=one_user_trial)
    good = are_good(found)
    return Answer({"ready": good, "findings": to_json(found)}, to_text(found), 0 if good else 1)
