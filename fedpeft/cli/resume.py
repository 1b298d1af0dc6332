# SPDX-License-Identifier: Apache-2.0
"""``fedpeft resume``: go on with a simulation that was interrupted."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command("resume", example="resume runs/first")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> Answer:
    """Go on from the last complete round of the run in DIR; budget that is spent stays spent."""
    from fedpeft.cli.progress import closing_table, exit_code, showing_progress
    from fedpeft.flower.simulation import resume

    with showing_progress() as progress:
        result = resume(folder, progress)
    return Answer(result, closing_table(result, folder), exit_code(result))
