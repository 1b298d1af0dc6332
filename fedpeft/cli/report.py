# SPDX-License-Identifier: Apache-2.0
"""``fedpeft report``: the page of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command(
    "report",
    example=(
        "report runs/first",
        "report runs/first runs/second --out compared.html",
        "report runs/first --covered-only --out sign.html",
    ),
)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: report.html in DIR; of several runs, report.html here.",
)
@click.option(
    "--ledger",
    "ledgers",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An organization's own ledger, to show its policy's whole life; may be repeated, for one DIR.",
)
@click.option(
    "--covered-only",
    is_flag=True,
    help="Leave out what the guarantee does not cover: baselines, and exact figures of private records.",
)
def command(
    folders: tuple[Path, ...], out: Path | None, ledgers: tuple[Path, ...], covered_only: bool
) -> Answer:
    """Write one self-contained HTML page about the runs in DIR..., side by side if there are several.

    It begins with the sentence to sign. A page that shows anything the sentence does not cover is marked NOT
    PRIVATE and carries none.
    """
    from fedpeft import report
    from fedpeft.errors import ConfigError
    from fedpeft.report.statement import statement, uncovered

    if ledgers and len(folders) > 1:
        raise ConfigError(f"--ledger {ledgers[0]}: belongs to one run, {len(folders)} were named; name one")
    runs = [report.read_run(folder, ledgers) for folder in folders]
    if covered_only:
        runs = [report.covered_only(run) for run in runs]
    path = out or (folders[0] if len(folders) == 1 else Path()) / report.REPORT_FILE
    report.write_page(runs, path)
    shows = [line for run in runs for line in uncovered(run)]
    withheld = {run.name: list(statement(run, shows).withheld) for run in runs}
    lines = [str(path), *(f"NOT PRIVATE: {line}" for line in shows)]
    lines += [f"{name}: no sentence to sign: {why}" for name, reasons in withheld.items() for why in reasons]
    data = {"path": str(path), "not_private": shows, "withheld": withheld}
    return Answer(data, "\n".join(dict.fromkeys(lines)))
