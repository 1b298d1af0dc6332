# SPDX-License-Identifier: Apache-2.0
"""``fedpeft simulate``: a whole run, all sites in this process."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command(
    "simulate",
    example=(
        "simulate run.toml --out runs/first",
        "simulate run.toml --set privacy.epsilon=4 --set federation.rounds=16 --out runs/strict",
        "simulate run.toml --quiet --json > result.json",
    ),
)
@frame.run_file
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the run's files go; default: runs/NAME of RUN.toml.",
)
@frame.with_baselines
def command(path: str, overrides: tuple[str, ...], out: Path | None, baselines: bool) -> Answer:
    """Train over all organizations of RUN.toml, in this process, and leave adapter, ledgers and figures."""
    from fedpeft.baselines import check_baselines, run_method
    from fedpeft.cli.live import showing_run
    from fedpeft.cli.progress import beside_run, closing
    from fedpeft.config import load_config
    from fedpeft.report import write_report
    from fedpeft.shared import Shared

    config = load_config(path, overrides, files_must_exist=True)
    folder = out or Path("runs") / Path(path).stem
    if baselines:
        check_baselines(config)
    shared = Shared()
    with showing_run(config) as progress:
        result = run_method(config, folder, progress, shared=shared)
        beside = beside_run(config, folder, result, progress, shared) if baselines else None
    if "watermark" not in result:  # a reference has no rounds to report
        write_report(folder)
    return closing(result, folder, beside)
