# SPDX-License-Identifier: Apache-2.0
"""Run an experiment's cells, or make its table and figure from what was found.

::

python -m simulations.grid run NAME [NAME ...] [--only CELL ...] [--minutes M]
python -m simulations.grid table NAME
python -m simulations.grid schema > experiment.schema.json
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpeft.cli.progress import showing_progress
from fedpeft.errors import FedpeftError, UserError
from fedpeft.shared import Shared
from simulations.grid.cells import run_experiment
from simulations.grid.experiment import Experiment, experiment_schema, load_experiment
from simulations.grid.figures import draw
from simulations.grid.results import read_lines
from simulations.grid.table import make_rows, make_table, put_between_markers

_HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Places:
    """Where an experiment's files are."""

    experiments: Path = _HERE / "experiments"
    results: Path = _HERE / "results"
    figures: Path = _HERE / "figures"
    readme: Path = _HERE / "README.md"
    work: Path = _HERE.parent / "runs" / "grid"

    def lines(self, name: str) -> Path:
        """The results of an experiment."""
        return self.results / f"{name}.jsonl"


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Parse, do, and say how far it came; 2 for bad input, 1 for failure, 130 where it was interrupted."""
    places = places or Places()
    asked = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("simulations").setLevel(logging.INFO)
    if asked.action == "schema":
        print(json.dumps(experiment_schema(), indent=2))
        return 0
    try:
        return _run(asked, places) if asked.action == "run" else _table(asked.name, places)
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except (FedpeftError, ImportError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what is done is kept, run it again to go on", file=sys.stderr)
        return 130


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.grid", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser("run", help="run the cells that have no result yet")
    run.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="experiments; those on the same data and blocks share kept states",
    )
    run.add_argument("--only", nargs="+", default=(), metavar="CELL", help="names or patterns of cells")
    run.add_argument("--minutes", type=float, metavar="M", help="begin no cell that would end later")
    actions.add_parser("table", help="make table and figure of what is there").add_argument("name")
    actions.add_parser("schema", help="print a JSON Schema of an experiment's TOML, for editors")
    return parser.parse_args(arguments)


def _run(asked: argparse.Namespace, places: Places) -> int:
    experiments = [load_experiment(name, places.experiments) for name in asked.names]
    shared = Shared()
    for experiment in experiments:
        only = [p for p in asked.only if _fits(p, [experiment]) or not _fits(p, experiments)]
        if asked.only and not only:
            continue
        with showing_progress() as progress:
            done = run_experiment(
                experiment,
                places.lines(experiment.name),
                places.work,
                only=only,
                minutes=asked.minutes,
                observer=progress,
                shared=shared,
            )
        print(f"{experiment.name}: {done.done} of {done.total} cells are done")
    return 0


def _fits(pattern: str, experiments: Sequence[Experiment]) -> bool:
    return bool(fnmatch.filter([cell.name for one in experiments for cell in one.cells], pattern))


def _table(name: str, places: Places) -> int:
    experiment = load_experiment(name, places.experiments)
    rows = make_rows(experiment, read_lines(places.lines(name)))
    text = make_table(experiment, rows)
    drawn = draw(experiment, rows, places.figures)
    if drawn is not None:
        relative = drawn.relative_to(places.readme.parent).as_posix()
        text += f"\n\n![{experiment.table.title}]({relative})"
    put_between_markers(places.readme, name, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
