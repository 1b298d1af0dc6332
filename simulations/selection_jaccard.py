# SPDX-License-Identifier: Apache-2.0
"""How alike the blocks are that other seeds choose: the Jaccard index of pairs, beside that of chance.

::

python -m simulations.selection_jaccard selection_sst2_epsilon8 --cells selft vote [--seeds 5] [--minutes M]

Each seed is a whole choice: noise, synthetic rows, trials and drawn sets are all new. Nothing is trained
after it.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from fedpeft.config import RunConfig, load_config
from fedpeft.errors import ConfigError
from fedpeft.flower.simulation import select
from simulations.benchmarks.shared.measure import machine
from simulations.grid.__main__ import Places
from simulations.grid.cells import code_digest
from simulations.grid.experiment import Cell, Experiment, load_experiment
from simulations.grid.results import Line, opened
from simulations.outcome import Pace, exit_code, leave

_DRAWS = 4000


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Parse, do, print; 2 for bad input, 1 for failure."""
    places = places or Places()
    asked = _parse(arguments)

    def work() -> None:
        experiment = load_experiment(asked.name, places.experiments)
        lines = choose(experiment, asked.cells, asked.seeds, places, asked.minutes)
        leave(summarize(lines), places.results / f"{asked.name}.jaccard.json")

    return exit_code(work)


def choose(
    experiment: Experiment, names: Sequence[str], seeds: int, places: Places, minutes: float | None = None
) -> list[Line]:
    """Choose with each seed from 1 what has not been chosen yet; the lines of these cells and seeds.

    Raises:
        ConfigError: a name that is no cell, or a cell without a selector.
    """
    wanted = [_cell(experiment, name) for name in names]
    every = [(_key(cell, seed), cell) for seed in range(1, seeds + 1) for cell in wanted]
    work = places.work / f"{experiment.name}-jaccard"
    pace = Pace(minutes)
    with opened(places.results / f"{experiment.name}.jaccard.jsonl") as results:
        for key, cell in every:
            if any(key.items() <= line.items() for line in results.lines):
                continue
            if not pace.may_begin():
                break
            found = _chosen(_seeded(experiment, cell, key["seed"], places), work)
            facts = {name: found[name] for name in ("layers", "blocks", "why", "seconds")}
            results.append({**key, **facts, "code": code_digest(), "machine": machine()})
            pace.ended()
        return [line for line in results.lines if any(key.items() <= line.items() for key, _ in every)]


def summarize(lines: Sequence[Line]) -> dict[str, Any]:
    """By cell: the sets, the mean Jaccard index over pairs of seeds, and that of sets drawn by chance."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(line["cell"] for line in lines):
        own = [line for line in lines if line["cell"] == name]
        sets = [frozenset(line["layers"]) for line in own]
        pairs = [jaccard(a, b) for a, b in itertools.combinations(sets, 2)]
        found[name] = {
            "seeds": [line["seed"] for line in own],
            "layers": [sorted(one) for one in sets],
            "jaccard": fmean(pairs) if pairs else None,
            "lowest": min(pairs, default=None),
            "chance": by_chance([len(one) for one in sets], own[0]["blocks"]) if pairs else None,
            "seconds": fmean(line["seconds"] for line in own),
        }
    return found


def jaccard(first: frozenset[int], second: frozenset[int]) -> float:
    """What two sets share, of all that is in either."""
    return len(first & second) / len(first | second)


def by_chance(sizes: Sequence[int], blocks: int) -> float:
    """The mean index of pairs of sets of these sizes, each drawn from ``blocks`` at random."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(_DRAWS // len(sizes)):
        drawn = [frozenset(random.choice(blocks, size, replace=False).tolist()) for size in sizes]
        values += [jaccard(a, b) for a, b in itertools.combinations(drawn, 2)]
    return fmean(values)


def _cell(experiment: Experiment, name: str) -> Cell:
    cell = next((cell for cell in experiment.cells if cell.name == name), None)
    if cell is None or cell.config.selection.selector is None:
        known = [c.name for c in experiment.cells if c.config.selection.selector is not None]
        raise ConfigError(
            f"--cells {name}: is no cell of {experiment.name} that chooses blocks; there are "
            f"{', '.join(dict.fromkeys(known))}"
        )
    return cell


def _key(cell: Cell, seed: int) -> Line:
    return {"cell": cell.name, "seed": seed, "set": list(cell.overrides)}


def _seeded(experiment: Experiment, cell: Cell, seed: int, places: Places) -> RunConfig:
    seeds = [f"{key}={seed}" for key in ("run.seed", "selection.seed", "synthesis.seed")]
    return load_config(places.experiments / experiment.table.base, (*cell.overrides, *seeds))


def _chosen(config: RunConfig, folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return select(config, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.selection_jaccard", description=__doc__)
    parser.add_argument("name", help="of the experiment")
    parser.add_argument("--cells", nargs="+", required=True, metavar="CELL", help="cells that choose blocks")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 1 to N (default: 5)")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no choice that would end later")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
