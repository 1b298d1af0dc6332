# SPDX-License-Identifier: Apache-2.0
"""``fedpeft select``: which blocks a run should train, from public or synthetic rows, or a vote of sites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from rich.console import Group

    from fedpeft.types import JsonDict

_SHOWN = 12


@frame.command("select", example="select run.toml --set selection.selector=selft --data public.jsonl")
@frame.run_file
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Public rows, or a folder of synthetic ones; default: selection.data.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where selection.json goes; default: nowhere. For a vote of the sites: the folder of the run, "
    "runs/NAME of RUN.toml by default.",
)
def command(path: str, overrides: tuple[str, ...], data: Path | None, out: Path | None) -> Answer:
    """Choose the blocks to train under the noise of the run.

    Reads no private record and costs no budget, but for selection.selector = "vote": there the sites commit
    the run and vote, and `fedpeft resume DIR` goes on.
    """
    from fedpeft.cli.progress import showing_progress
    from fedpeft.config import load_config
    from fedpeft.errors import together
    from fedpeft.layer_choice import choose_layers, needed_rows, write_choice
    from fedpeft.plan import make_plan
    from fedpeft.selection.budget import asks_sites

    config = load_config(path, overrides)
    if asks_sites(config.selection):
        return _by_votes(path, overrides, data, out)
    plan, rows = together(lambda: make_plan(config), lambda: needed_rows(config, data))
    with showing_progress() as progress:
        found = choose_layers(config, plan, rows, progress.stage)
    if out is not None:
        write_choice(out, found)
    return Answer(found, _text(found))


def _by_votes(path: str, overrides: tuple[str, ...], data: Path | None, out: Path | None) -> Answer:
    from fedpeft.config import load_config
    from fedpeft.errors import ConfigError
    from fedpeft.flower.simulation import select

    if data is not None:
        raise ConfigError(f"--data {data}: has no use where the sites vote; leave it out")
    folder = out or Path("runs") / Path(path).stem
    found = select(load_config(path, overrides, files_must_exist=True), folder)
    return Answer(found | {"folder": str(folder)}, _text(found, f"to go on: fedpeft resume {folder}"))


def _text(found: JsonDict, go_on: str = "") -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = [
        f"{found['selector']}: {found['why']}",
        f"{len(found['layers'])} of {found['blocks']} blocks, {found['trainings']} trainings, "
        f"{found['seconds']:.0f} s; {found['privacy']}",
        go_on or f"to take it: --set 'adapter.layers={found['layers']}', without selection.selector",
    ]
    table = Table(title="best of what was tried: loss on validation rows, the worst of the perturbations")
    for name in ("blocks", "made as", "steps", "trainable", "loss", "+/- one standard error"):
        table.add_column(name, justify="left" if name in ("blocks", "made as") else "right")
    for tried in found["candidates"][:_SHOWN]:
        table.add_row(
            Text(" ".join(map(str, tried["layers"]))),
            tried["kind"],
            f"{tried['steps']}",
            f"{tried['trainable']:,}",
            *("-" if tried[name] is None else f"{tried[name]:.4f}" for name in ("mean", "standard_error")),
        )
    return Group(*([table] if found["candidates"] else []), *map(Text, lines))
