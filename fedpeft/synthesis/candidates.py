# SPDX-License-Identifier: Apache-2.0
"""The public candidates that synthetic data are chosen from."""

from __future__ import annotations

from fedpeft.data.sources import load_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.dataset import SyntheticRow, refuse_apart_from_certificate
from fedpeft.synthesis.templates import bundled_pool


def read_candidates(settings: SynthesisSettings, data: DataSettings) -> tuple[SyntheticRow, ...]:
    """The rows of ``synthesis.path``, or else the bundled pool; each pair once, in a fixed order.

    A row of a file is a lineage of its own.

    Raises:
        DataError: the file is absent, wrong or empty.
    """
    rows = bundled_pool() if settings.path is None else _of_file(settings, data)
    seen: dict[tuple[str, str], SyntheticRow] = {}
    for row in rows:
        seen.setdefault((row.instruction, row.response), row)
    return tuple(seen.values())


def _of_file(settings: SynthesisSettings, data: DataSettings) -> tuple[SyntheticRow, ...]:
    path = settings.path
    assert path is not None
    refuse_apart_from_certificate(path, "synthesis.path")
    records = load_records(path, data, key="synthesis.path")
    ids = [record.id for record in records]
    if len(set(ids)) < len(ids):
        raise DataError(f"synthesis.path: {path} has the same id in two rows; give each its own")
    return tuple(
        SyntheticRow(r.id, r.instruction, r.response, r.task, f"{path.name}/{r.id}") for r in records
    )
