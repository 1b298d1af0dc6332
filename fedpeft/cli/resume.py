# SPDX-License-Identifier: Apache-2.0
"""``fedpeft resume``: go on with a simulation that was interrupted."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command("resume", example="resume runs/first")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@frame.with_baselines
def command(folder: Path, baselines: bool) -> Answer:
    """Go on from the last complete round of the run in DIR; budget that is spent stays spent."""
    from fedpeft.baselines import check_baselines
    from fedpeft.cli.live import showing_run
    from fedpeft.cli.progress import beside_run, closing
    from fedpeft.flower.simulation import finished, resume
    from fedpeft.folder import open_run
    from fedpeft.report import write_report

    config, _ = open_run(folder)
    if baselines:
        check_baselines(config)
    with showing_run(config) as progress:
        result = (finished(folder) if baselines else None) or resume(folder, progress)
        beside = beside_run(config, folder, result, progress) if baselines else None
    write_report(folder)
    return closing(result, folder, beside)
