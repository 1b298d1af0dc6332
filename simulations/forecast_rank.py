# SPDX-License-Identifier: Apache-2.0
"""How well forecasts order settings: the rank correlation of what was forecast with what came out.

::

python -m simulations.forecast_rank forecast_sst2 --data PUBLIC [--minutes M]

Each cell of the experiment is played on public rows, cell by cell, before it counts what the cell found
(``python -m simulations.grid run forecast_sst2``); a cell without a result is left out of the correlation.
What is forecast is the loss of a row; what came out is the logarithm of the perplexity of the evaluated
records.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fedpeft.errors import ConfigError
from fedpeft.forecast import forecast
from fedpeft.layer_choice import rows_to_play_on
from simulations.benchmarks.shared.measure import machine
from simulations.grid.__main__ import Places
from simulations.grid.cells import code_digest
from simulations.grid.experiment import Cell, Experiment, is_same, load_experiment, portable
from simulations.grid.results import Line, opened, read_lines
from simulations.outcome import Pace, exit_code, leave

FEWEST = 3
"""Settings below which an order says nothing."""


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """Parse, do, print; 2 for bad input, 1 for failure."""
    places = places or Places()
    asked = _parse(arguments)

    def work() -> None:
        experiment = load_experiment(asked.name, places.experiments)
        done = play(experiment, asked.data, places.results / f"{asked.name}.forecasts.jsonl", asked.minutes)
        print(f"{asked.name}: {done} of {len(experiment.cells)} cells are forecast")
        leave(compare(experiment, places), places.results / f"{asked.name}.rank.json")

    return exit_code(work)


def play(experiment: Experiment, data: Path | None, path: Path, minutes: float | None = None) -> int:
    """Forecast the cells that have no line in ``path``; returns how many have one then.

    Args:
        experiment: with its cells.
        data: public rows, or a folder of synthetic ones; default: each cell's own ``selection.data``.
        path: of the lines.
        minutes: begin no cell that would probably end later than this.
    """
    pace = Pace(minutes)
    with opened(path) as results:
        for cell in experiment.cells:
            if any(is_same(line, cell) for line in results.lines):
                continue
            if not pace.may_begin():
                break
            results.append(_played(cell, data))
            pace.ended()
        return sum(any(is_same(line, cell) for line in results.lines) for cell in experiment.cells)


def _played(cell: Cell, data: Path | None) -> Line:
    config = cell.config
    found = forecast(config, rows_to_play_on(config, data), [config.privacy.epsilon])
    (at,) = found["epsilons"]
    return {
        "cell": cell.name,
        "seed": cell.seed,
        "id": cell.identity,
        "loss": at["loss"],
        "standard_error": at["loss_standard_error"],
        "before": found["before"]["loss"],
        "rows": found["rows"],
        "seconds": found["seconds"],
        "code": code_digest(),
        "machine": machine(),
        "config": portable(cell.config),
    }


def compare(experiment: Experiment, places: Places) -> dict[str, Any]:
    """Both figures of each cell that has both, and their rank correlation over cells.

    Returns:
        ``spearman`` with an interval of 95 % (Fisher's z, Bonett and Wright's error), ``None`` below
        ``FEWEST`` cells, and the cells.
    """
    forecasts = read_lines(places.results / f"{experiment.name}.forecasts.jsonl")
    outcomes = read_lines(places.lines(experiment.name))
    cells: dict[str, dict[str, list[float]]] = {}
    for cell in experiment.cells:
        said = next((line for line in forecasts if is_same(line, cell)), None)
        came = next((line for line in outcomes if is_same(line, cell)), None)
        if said is not None and came is not None and "metrics" in came:
            row = cells.setdefault(cell.name, {"forecast": [], "outcome": []})
            row["forecast"].append(said["loss"])
            row["outcome"].append(_outcome(came))
    means = {name: {key: fmean(values) for key, values in row.items()} for name, row in cells.items()}
    return {"experiment": experiment.name, "cells": means, **correlation(list(means.values()))}


def correlation(cells: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Spearman's coefficient over ``forecast`` and ``outcome`` of each cell, with its interval."""
    from scipy.stats import spearmanr

    count = len(cells)
    if count < FEWEST:
        return {"count": count, "spearman": None, "low": None, "high": None}
    forecasts, outcomes = ([c[key] for c in cells] for key in ("forecast", "outcome"))
    if min(len(set(forecasts)), len(set(outcomes))) < 2:
        raise ConfigError("cells: all forecasts or all outcomes are alike, so there is no order to compare")
    value = float(spearmanr(forecasts, outcomes).statistic)
    if abs(value) == 1 or count <= FEWEST:
        return {"count": count, "spearman": value, "low": None, "high": None}
    reach = 1.96 * math.sqrt((1 + value**2 / 2) / (count - 3))
    low, high = math.tanh(math.atanh(value) - reach), math.tanh(math.atanh(value) + reach)
    return {"count": count, "spearman": value, "low": low, "high": high}


def _outcome(line: Line) -> float:
    return math.log(line["metrics"]["after"]["perplexity"]["value"])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.forecast_rank", description=__doc__)
    parser.add_argument("name", help="of the experiment")
    parser.add_argument("--data", type=Path, metavar="PATH", help="public or synthetic rows")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no forecast that would end later")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
