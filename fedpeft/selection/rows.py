# SPDX-License-Identifier: Apache-2.0
"""Public or synthetic rows, for whatever is tried without private data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedpeft.data.prompts import Example, Prompter
from fedpeft.data.records import Record
from fedpeft.data.rows import RECORD_UNIT
from fedpeft.data.sources import load_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.shared import content_digest
from fedpeft.synthesis.dataset import SyntheticDataset, refuse_apart_from_certificate
from fedpeft.types import SEEDED_PREFIX, JsonDict

KEY: Final = "selection.data"


@dataclass(frozen=True, slots=True)
class PublicRows:
    """Rows that may be looked at freely.

    Attributes:
        records: their ``unit`` is the lineage.
        facts: where they come from and a hash of them, for whoever reads the result.
    """

    records: tuple[Record, ...]
    facts: JsonDict


def read_rows(path: Path, data: DataSettings, lineage: str | None, *, seeded: bool = False) -> PublicRows:
    """Read a public file, or a folder of synthetic data.

    Args:
        path: a file with the columns of ``data``, or a folder with data and their certificate.
        data: of the run.
        lineage: column of a public file; rows without one are of a lineage of their own.
        seeded: whether the run that reads them has no guarantee either.

    Raises:
        DataError: absent, wrong or empty; synthetic data that are not those of their certificate, that lie
            apart from it, or that a seeded run made.
    """
    if path.is_dir():
        found = SyntheticDataset.read(path)
        if found.certificate.run_id.startswith(SEEDED_PREFIX) and not seeded:
            raise DataError(
                f"{KEY}: {path} was made by a run with run.seed, whose noise anybody can compute, so it "
                "has no guarantee; make it without a seed, or give this run a seed too"
            )
        return of_synthetic(found)
    refuse_apart_from_certificate(path, KEY)
    try:
        records = load_records(path, data, key=KEY, unit=lineage or RECORD_UNIT)
    except DataError as error:  # the reader of records knows this column as that of privacy units
        raise DataError([p.replace("[privacy] unit", "selection.lineage") for p in error.problems]) from error
    return PublicRows(tuple(records), {"source": "public file", "sha256": content_digest(records)})


def of_synthetic(found: SyntheticDataset) -> PublicRows:
    """The rows of synthetic data that were read already, and what they cost."""
    records = tuple(
        Record(row.id, row.lineage, row.instruction, row.response, row.task) for row in found.rows
    )
    certificate = found.certificate
    facts = {
        "source": "synthetic",
        "generator": certificate.generator,
        "sha256": certificate.data_sha256,
        "epsilon": certificate.epsilon,
        "delta": certificate.delta,
    }
    return PublicRows(records, facts)


def encode(records: Sequence[Record], prompter: Prompter) -> tuple[Example, ...]:
    """As examples, in order."""
    return tuple(prompter.encode(r.instruction, r.response, r.before) for r in records)
