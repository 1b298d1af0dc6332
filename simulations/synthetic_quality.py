# SPDX-License-Identifier: Apache-2.0
"""How good synthetic data are, and how near they come to private records. NOT PRIVATE: for simulations alone.

::

python -m simulations.synthetic_quality RUN_DIR [--name NAME]

Measures the synthetic data of a finished simulation against its sites' records and its public evaluation
records:

* the shares of its tasks, and of the pool's, against the sites' true ones;
* the distance of mean embeddings to the public records, beside that of the pool and of the sites';
* near-duplicates among its rows, and of public records;
* the longest run of words that a row has in common with any private record, beside what public records have.

Nothing of this may leave a real site, and nothing of it is computed there: data that organizations hold are
refused.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fedpeft.config import RunConfig
from fedpeft.data.embedding import embed_all, pair_text
from fedpeft.data.records import Record
from fedpeft.errors import ConfigError, DataError
from fedpeft.folder import open_run
from fedpeft.run_sources import Sources, read_sources
from fedpeft.synthesis.candidates import read_candidates
from fedpeft.synthesis.dataset import FOLDER, SyntheticDataset, SyntheticRow
from simulations.outcome import exit_code, leave

RESULTS: Final = Path(__file__).parent / "results"
NOT_PRIVATE: Final = "NOT PRIVATE: computed from private records, in a simulation"
NEAR: Final = 0.9
"""Cosine of embeddings from which on two texts are nearly alike."""

_MOST_PRIVATE: Final = 20_000  # records that verbatim overlap is looked for in

Vectors = npt.NDArray[np.float64]


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> int:
    """Parse, measure, write, print; 2 for bad input, 1 for failure."""
    asked = _parse(arguments)
    name = asked.name or f"synthetic_quality_{asked.run.resolve().name}"
    return exit_code(lambda: leave(measure(asked.run), results / f"{name}.json"))


def measure(run: Path) -> dict[str, Any]:
    """All figures of the simulation in ``run``.

    Raises:
        ConfigError: it is no simulation, or evaluates no public records.
        DataError: it has no synthetic data.
        RunDirectoryError: it is no run.
    """
    config, _ = open_run(run)
    if config.data.source == "sites":
        raise ConfigError(
            'data.source = "sites": these are organizations\' own records, of which no such figure is made; '
            "measure a simulation"
        )
    data = SyntheticDataset.read(run / FOLDER)
    if not data.rows:
        raise DataError(f"{run / FOLDER}: holds no rows; make some")
    sources = read_sources(config)
    public = _public(config, sources)
    pool = read_candidates(config.synthesis, config.data)
    private = [record for own in sources.sites.records.values() for record in own]
    return {
        "privacy": NOT_PRIVATE,
        "generator": data.certificate.generator,
        "epsilon": data.certificate.epsilon,
        "rows": len(data.rows),
        "private_records": len(private),
        "public_records": len(public),
        "tasks": marginals(data.rows, private, pool),
        "distance": distances(data.rows, private, public, pool),
        "duplicates": duplicates(data.rows, public),
        "overlap": overlaps(data.rows, private, public),
    }


def marginals(
    rows: Sequence[SyntheticRow], private: Sequence[Record], pool: Sequence[SyntheticRow]
) -> dict[str, Any]:
    """Shares of the tasks, and how far those of rows and pool are from the sites' own.

    Tasks of a pool may have names of their own; where none is shared the distance is 1 and says only that.
    """
    ours, theirs, offered = (shares(item.task for item in items) for items in (rows, private, pool))
    return {
        "synthetic": ours,
        "private": theirs,
        "total_variation": total_variation(ours, theirs),
        "total_variation_of_pool": total_variation(offered, theirs),
        "shared_names": sorted(ours.keys() & theirs.keys()),
    }


def total_variation(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Half the sum of the differences of shares: 0 where alike, 1 where apart."""
    names = sorted({*first, *second})
    return sum(abs(first.get(name, 0.0) - second.get(name, 0.0)) for name in names) / 2


def shares(values: Iterable[str]) -> dict[str, float]:
    """Of each value, by name."""
    counts = Counter(values)
    return {name: count / counts.total() for name, count in sorted(counts.items())}


def distances(
    rows: Sequence[SyntheticRow],
    private: Sequence[Record],
    public: Sequence[Record],
    pool: Sequence[SyntheticRow],
) -> dict[str, float]:
    """Between mean embeddings of texts and of the public records, for the synthetic rows and two controls."""
    target = embeddings(public)
    return {
        "synthetic": mean_distance(embeddings(rows), target),
        "pool": mean_distance(embeddings(pool), target),
        "private": mean_distance(embeddings(private), target),
    }


def mean_distance(first: Vectors, second: Vectors) -> float:
    """Euclidean, between the means of rows."""
    return float(np.linalg.norm(first.mean(0) - second.mean(0)))


def duplicates(rows: Sequence[SyntheticRow], public: Sequence[Record]) -> dict[str, float]:
    """Shares of rows that are nearly alike: to an earlier row, and to a public record."""
    ours = embeddings(rows)
    among = np.tril(ours @ ours.T, -1).max(1, initial=-1.0)
    beside = (ours @ embeddings(public).T).max(1)
    exact = len({pair_text(row.instruction, row.response) for row in rows})
    return {
        "exact": 1 - exact / len(rows),
        "near": float((among >= NEAR).mean()),
        "near_public": float((beside >= NEAR).mean()),
    }


def overlaps(
    rows: Sequence[SyntheticRow], private: Sequence[Record], public: Sequence[Record]
) -> dict[str, int]:
    """Words of the longest run that any row, and any public record, has in common with a private record."""
    theirs = [_words(pair_text(r.instruction, r.response)) for r in private[:_MOST_PRIVATE]]
    ours = {pair_text(row.instruction, row.response) for row in rows}
    others = {pair_text(record.instruction, record.response) for record in public}
    return {
        "synthetic_words": longest_shared([_words(text) for text in ours], theirs),
        "public_words": longest_shared([_words(text) for text in others], theirs),
    }


def longest_shared(first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> int:
    """Words of the longest run that a text of each has; by bisection, since its parts are shared too."""
    low, high = 0, min(max(map(len, first), default=0), max(map(len, second), default=0))
    while low < high:
        middle = (low + high + 1) // 2
        if _runs(first, middle) & _runs(second, middle):
            low = middle
        else:
            high = middle - 1
    return low


def embeddings(items: Sequence[SyntheticRow] | Sequence[Record]) -> Vectors:
    """``(n, dimension)`` of instruction and response."""
    return embed_all(pair_text(item.instruction, item.response) for item in items)


def _public(config: RunConfig, sources: Sources) -> list[Record]:
    if not config.evaluation.public or not sources.evaluation:
        raise ConfigError(
            "evaluation.path: names no public records to compare with; give a file, with evaluation.public = "
            "true"
        )
    return list(sources.evaluation)


def _runs(texts: Sequence[Sequence[str]], length: int) -> set[int]:
    return {
        hash(tuple(words[start : start + length]))
        for words in texts
        for start in range(len(words) - length + 1)
    }


def _words(text: str) -> list[str]:
    return text.lower().split()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulations.synthetic_quality", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a simulation with synthetic data")
    parser.add_argument("--name", help="of the JSON under simulations/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
