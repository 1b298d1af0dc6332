# SPDX-License-Identifier: Apache-2.0
"""The public candidates that synthetic data are chosen from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpeft.data.sources import load_records
from fedpeft.errors import DataError
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.dataset import SyntheticRow, refuse_apart_from_certificate
from fedpeft.synthesis.templates import bundled_pool

if TYPE_CHECKING:
    from fedpeft.synthesis.writing import Writer


def all_candidates(
    settings: SynthesisSettings, data: DataSettings, writer: Writer | None
) -> tuple[SyntheticRow, ...]:
    """Those of :func:`read_candidates`, and ``synthesis.written`` that the untouched backbone writes itself.

    Raises:
        BackboneError: it cannot write.
        DataError: as :func:`read_candidates`, or not one of the texts that were written is a pair.
    """
    rows = read_candidates(settings, data)
    if not settings.written:
        return rows
    if writer is None:
        raise DataError(f"synthesis.written = {settings.written}: needs the backbone, which is not here")
    writer.check()
    own = writer.rows(writer.adapter.zeros(), settings.tasks, settings.written, settings.seed, "backbone")
    if not own:
        raise DataError(
            f"synthesis.written = {settings.written}: the backbone wrote no pair of a question and an "
            "answer; set it to 0, or name a backbone that follows instructions"
        )
    return _once((*rows, *own))


def read_candidates(settings: SynthesisSettings, data: DataSettings) -> tuple[SyntheticRow, ...]:
    """The rows of ``synthesis.path``, or else the bundled pool; each pair once, in a fixed order.

    A row of a file is a lineage of its own.

    Raises:
        DataError: the file is absent, wrong or empty.
    """
    return _once(bundled_pool() if settings.path is None else _of_file(settings, data))


def _once(rows: tuple[SyntheticRow, ...]) -> tuple[SyntheticRow, ...]:
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
