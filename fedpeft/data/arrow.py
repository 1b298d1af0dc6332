# SPDX-License-Identifier: Apache-2.0
"""The rows of parquet files and of what the library ``datasets`` loads.

Values come as Arrow stores them: nothing is decoded, and a whole number never becomes a float. Rows are
counted from 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedpeft.data.rows import RowError, Rows
from fedpeft.errors import DataError
from fedpeft.settings import Table

_ROWS_AT_ONCE = 1000


def parquet_rows(path: Path) -> Rows:
    """Read the rows of ``path``.

    Raises:
        OSError: while reading.
    """
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield from _rows(file.schema_arrow.names, file.iter_batches(_ROWS_AT_ONCE))
    except (ArrowException, ValueError) as error:  # the second of text that is not UTF-8
        yield "", RowError(f"cannot be read as parquet ({_first_line(error)}); write the file anew")


def dataset_rows(dataset: Any) -> Rows:
    """Read the rows of a ``datasets.Dataset``, whatever format it shows its values in."""
    yield from _rows(dataset.column_names, dataset.with_format("arrow").iter(_ROWS_AT_ONCE))


def load_dataset(table: Table, key: str) -> Any:
    """Load ``table.dataset``: from the folder of that name, else from the hub.

    Raises:
        DataError: it cannot be loaded, or is no single split.
    """
    import datasets

    name = table.dataset or ""
    try:
        if Path(name).is_dir():
            found: Any = datasets.load_from_disk(name)
            if isinstance(found, datasets.DatasetDict):
                found = found[table.split or "train"]
        else:
            found = datasets.load_dataset(
                name, table.subset, split=table.split or "train", revision=table.revision
            )
    except Exception as error:  # the library, its formats and the hub's client raise almost anything
        reason = f"{type(error).__name__}: {_first_line(error)}"
        raise DataError(
            f"{key}.dataset: {name} cannot be loaded ({reason}); correct its name, subset and split"
        ) from error
    return as_dataset(found, f"{key}.dataset")


def as_dataset(found: object, key: str) -> Any:
    """Return ``found``, which must be a ``datasets.Dataset``.

    Raises:
        DataError: it is something else.
    """
    import datasets

    if not isinstance(found, datasets.Dataset):
        raise DataError(f"{key}: is a {type(found).__name__}; give a datasets.Dataset, one split of it")
    return found


def _rows(columns: list[str], batches: Iterable[Any]) -> Rows:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        yield "", RowError(f"column {twice[0]!r} occurs twice; keep one")
        return
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f": row {number}", row


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
