# SPDX-License-Identifier: Apache-2.0
"""A synthetic data set as two files: the rows, and the certificate of exactly these rows.

``data.jsonl`` has one JSON object a line; ``certificate.json`` holds the hash of its bytes and is written
after it, so that data without a certificate were never finished. Such data are refused, and so are data that
were edited: whatever trains or tunes on them would make a claim that nobody checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedpeft.errors import DataError, RunDirectoryError
from fedpeft.synthesis.certificate import Certificate
from fedpeft.synthesis.durable import write_durably

FOLDER: Final = "synthetic"
"""Of a run's folder."""
DATA_FILE: Final = "data.jsonl"
CERTIFICATE_FILE: Final = "certificate.json"


@dataclass(frozen=True, slots=True)
class SyntheticRow:
    """One synthetic instruction-response pair.

    Attributes:
        id: unique in its data set.
        instruction: what the user asks.
        response: what the assistant should answer; never taken from a private record.
        task: its group; empty where there is none.
        lineage: of its origin, a template or a public row. Rows of the same lineage may be nearly the same,
            so a split into training and validation must not part them.
    """

    id: str
    instruction: str
    response: str
    task: str
    lineage: str


@dataclass(frozen=True, slots=True)
class SyntheticDataset:
    """Rows and what is claimed about them."""

    rows: tuple[SyntheticRow, ...]
    certificate: Certificate

    @classmethod
    def certified(cls, rows: Sequence[SyntheticRow], certificate: Certificate) -> SyntheticDataset:
        """The rows, with the certificate bound to them."""
        digest = hashlib.sha256(_to_bytes(rows)).hexdigest()
        return cls(tuple(rows), dataclasses.replace(certificate, data_sha256=digest))

    @classmethod
    def read(cls, folder: Path) -> SyntheticDataset:
        """The data in ``folder``, checked.

        Raises:
            DataError: no certificate, one of other data, or a file that is damaged.
        """
        content, text = _content(folder, DATA_FILE), _content(folder, CERTIFICATE_FILE)
        certificate = Certificate.from_json(text.decode("utf-8", "replace"))
        digest = hashlib.sha256(content).hexdigest()
        if digest != certificate.data_sha256:
            raise DataError(
                f"{folder / DATA_FILE}: has SHA-256 {digest:.12}..., its certificate is of "
                f"{certificate.data_sha256:.12}...; restore the file, or make the data anew"
            )
        return cls(_rows(folder / DATA_FILE, content), certificate)

    def write(self, folder: Path) -> None:
        """Write both files, the certificate last, each whole or not at all.

        Raises:
            RunDirectoryError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_durably(folder / DATA_FILE, _to_bytes(self.rows))
            write_durably(folder / CERTIFICATE_FILE, self.certificate.to_json().encode())
        except OSError as error:
            raise RunDirectoryError(
                f"{folder}: cannot be written ({error.strerror}); make room and try again"
            ) from error


def refuse_apart_from_certificate(path: Path, key: str) -> None:
    """Refuse the data file of a synthetic data set as if it were just a public file.

    Raises:
        DataError: a certificate lies beside it, which says what its rows cost.
    """
    if (path.parent / CERTIFICATE_FILE).is_file():
        raise DataError(
            f"{key}: {path} has a privacy certificate beside it, which goes where the rows go; name the "
            "folder as selection.data, or a file that is public"
        )


def is_complete(folder: Path) -> bool:
    """Whether data were finished in ``folder``; they may still be refused."""
    return (folder / CERTIFICATE_FILE).is_file()


def keep_rows(path: Path, rows: Sequence[SyntheticRow]) -> None:
    """Write rows that no certificate speaks of yet; whole or not at all.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, _to_bytes(rows))
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: cannot be written ({error.strerror}); make room and try again"
        ) from error


def read_rows(path: Path) -> tuple[SyntheticRow, ...]:
    """What :func:`keep_rows` wrote.

    Raises:
        DataError: it is damaged.
    """
    return _rows(path, path.read_bytes())


def _rows(path: Path, content: bytes) -> tuple[SyntheticRow, ...]:
    lines = content.decode("utf-8", "replace").splitlines()
    return tuple(_row(path, number, line) for number, line in enumerate(lines, 1))


def _to_bytes(rows: Sequence[SyntheticRow]) -> bytes:
    # Plain ASCII, so that no reader takes a separator inside a text for the end of a line.
    return "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows).encode()


def _row(path: Path, number: int, line: str) -> SyntheticRow:
    try:
        row = SyntheticRow(**json.loads(line))
        if not all(isinstance(value, str) for value in dataclasses.astuple(row)):
            raise ValueError("a value is no text")
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: line {number} is no row ({error}); make the data anew") from error
    return row


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise DataError(
            f"{folder / name}: cannot be read ({error.strerror}); synthetic data are used with their "
            "certificate only: make them with `fedpeft synthesize`"
        ) from error
