# SPDX-License-Identifier: Apache-2.0
"""A site by itself: what it would reach at the same epsilon without the others.

It is a whole run of one site, through the same sites, mechanism and round loop, in a folder that is thrown
away with its ledger: together with the run it stands beside it would spend epsilon twice, so nothing of it
may be published.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fedpeft.config import RunConfig
from fedpeft.config.parties import alone
from fedpeft.data.records import Record
from fedpeft.data.sources import SourceRecords
from fedpeft.evaluation import Scores
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.flower.simulation import Observer, simulate
from fedpeft.result import load_scores
from fedpeft.run_sources import Sources
from fedpeft.shared import Shared
from fedpeft.types import JsonDict

SCRATCH_FOLDER: Final = "not-private.partial"


def train_alone(
    config: RunConfig,
    name: str,
    out: Path,
    *,
    sources: Sources,
    records: Sequence[Record],
    shared: Shared,
    observer: Observer | None = None,
) -> tuple[Scores, JsonDict]:
    """Train the site ``name`` alone, with the same settings, epsilon and delta.

    Args:
        config: of the run.
        name: of the site.
        out: the run's folder; a folder in it is used and removed.
        sources: of the run.
        records: that the run evaluated; they are those of all sites.
        shared: with the run.
        observer: hears of progress.

    Returns:
        The scores of ``records`` and what the run of one site cost.

    Raises:
        FedpeftError: the run cannot go on.
        KeyboardInterrupt: it was interrupted.
    """
    own = SourceRecords({name: sources.sites.records[name]}, sources.sites.provenance)
    return train_apart(alone(config, name), out, Sources(own, list(records)), shared, observer)


def train_apart(
    config: RunConfig, out: Path, sources: Sources, shared: Shared, observer: Observer | None = None
) -> tuple[Scores, JsonDict]:
    """A run of one site in a folder of its own; arguments and result are those of :func:`train_alone`."""
    folder = out / SCRATCH_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        result = simulate(config, folder, observer, sources=sources, shared=shared)
        if result["stopped_because"] == "interrupted":
            raise KeyboardInterrupt
        _, scores = load_scores(
            folder / CHECKPOINT_FOLDER, [record.id for record in sources.evaluation or ()]
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    facts = ("epsilon", "delta", "rounds_completed", "stopped_because")
    (multiplier,) = result["noise_multiplier_by_site"].values()
    return scores, {**{key: result[key] for key in facts}, "noise_multiplier": multiplier}
