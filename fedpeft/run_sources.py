# SPDX-License-Identifier: Apache-2.0
"""The records of a run, from wherever its configuration says; none of the sites' for a coordinator."""

from __future__ import annotations

from dataclasses import dataclass

from fedpeft.config import RunConfig
from fedpeft.data.corruption import corrupted
from fedpeft.data.records import Record
from fedpeft.data.sources import Datasets, SourceRecords, load_records, read_sites
from fedpeft.errors import together
from fedpeft.shared import Shared


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run reads: every site's records, and those of the evaluation file if there is one."""

    sites: SourceRecords
    evaluation: list[Record] | None


def read_sources(
    config: RunConfig, shared: Shared | None = None, datasets: Datasets | None = None
) -> Sources:
    """Read all data of a simulation; needs no backbone.

    Args:
        config: of the run.
        shared: with other runs of this process; default: nothing.
        datasets: of ``data.source = "python"``: a ``datasets.Dataset`` by the name of each site, or by
            ``"data.partition"``. Never shared, since nothing tells two of them apart.

    Raises:
        UserError: the problems of all sources together.
    """
    shared = Shared() if shared is None or datasets is not None else shared
    path = config.evaluation.path if config.evaluation.records else None
    privacy = (config.privacy.unit, config.privacy.missing_unit)
    labels = config.evaluation.labels
    sites, evaluation = together(
        lambda: shared.once(
            "records",
            (config.sites, config.data, privacy, labels),
            lambda: _injected(read_sites(config.sites, config.data, config.privacy, datasets), config),
        ),
        lambda: None if path is None else load_records(path, config.data),
    )
    return Sources(sites, evaluation)


def _injected(found: SourceRecords, config: RunConfig) -> SourceRecords:
    """With the wrong and biased responses that an experiment asks for, and a note of it."""
    partition = config.data.partition
    if not partition.label_noise and not partition.feedback_bias:
        return found
    records = corrupted(found.records, partition, config.data.held_out, config.evaluation.labels)
    rates = {"label_noise": partition.label_noise, "feedback_bias": partition.feedback_bias}
    return SourceRecords(records, {**found.provenance, "injected": rates})


def without_records(config: RunConfig) -> Sources:
    """What the coordinator of a deployment reads: the evaluation file if there is one, and no site's data.

    Raises:
        DataError: the file is absent, wrong or empty.
    """
    path = config.evaluation.path if config.evaluation.records else None
    evaluation = [] if path is None else load_records(path, config.data)
    return Sources(SourceRecords({}, {"source": config.data.source}), evaluation)
