# SPDX-License-Identifier: Apache-2.0
"""What a run needs to go on after the last complete round, in one file that is whole or absent.

The file is a line of text (format, version, SHA-256 of the rest) and then a NumPy archive. It is written
under another name, made durable, and renamed over the old one: whatever moment the machine stops at, and
when the disk is full, the folder holds one whole checkpoint. Releases and public numbers are in it, and the
scores of single evaluation records, for which it is readable by its owner only; never a training record or
the state of a random generator.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedpeft.aggregation.server_optimizer import OptimizerState
from fedpeft.errors import RunDirectoryError
from fedpeft.privacy.allocation.history import DoubleVector, Statistics
from fedpeft.types import FloatVector, JsonDict, PrivacyEvent, Schedule

FORMAT_VERSION = 2
FILE_NAME = "state.ckpt"

_MAGIC = b"fedpeft-checkpoint"
_OPTIMIZER_PREFIX, _STATISTICS_PREFIX = "optimizer.", "statistics."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a run between two rounds. Nothing in it is changed after it was made.

    Attributes:
        run_id: of the schedules that the sites committed.
        rounds_completed: 0 before the first round.
        adapter: ``(D,)`` float32, as the next round's requests carry it.
        average: ``(D,)`` float64, of the adapters of all rounds; no request depends on it.
        optimizer: arrays of the server optimizer.
        statistics: arrays that the noise allocation learnt from releases.
        scales: ``(S,)`` that they led to, for the next round; empty before the first. Kept, so that another
            machine's rounding cannot change a request that a site has already paid for.
        schedules: what each site was asked to commit, by site; empty before the sites were asked.
        ledger_heads: the newest head seen of each site's ledger.
        events: what each site's releases cost, in order, as the releases said.
        records: one for each complete round, as in ``rounds.jsonl``.
        metrics_before: of the evaluation before the first round.
    """

    run_id: str
    rounds_completed: int
    adapter: FloatVector
    average: DoubleVector
    optimizer: OptimizerState
    statistics: Statistics
    scales: tuple[float, ...]
    schedules: dict[str, Schedule]
    ledger_heads: dict[str, str]
    events: dict[str, tuple[PrivacyEvent, ...]]
    records: tuple[JsonDict, ...]
    metrics_before: JsonDict

    @classmethod
    def fresh(
        cls,
        run_id: str,
        adapter: FloatVector,
        metrics_before: JsonDict,
        schedules: dict[str, Schedule] | None = None,
        events: dict[str, tuple[PrivacyEvent, ...]] | None = None,
    ) -> Checkpoint:
        """The state before the first round, with what sites committed and released before it, if anything."""
        average = adapter.astype(np.float64)
        return cls(
            run_id, 0, adapter, average, {}, {}, (), schedules or {}, {}, events or {}, (), metrics_before
        )

    def released(self, *, averaged: bool) -> FloatVector:
        """``(D,)`` what is evaluated and exported: the average of all rounds' adapters, or the last one."""
        return self.average.astype(np.float32) if averaged else self.adapter

    def events_with(self, newer: Mapping[str, PrivacyEvent]) -> dict[str, tuple[PrivacyEvent, ...]]:
        """``events``, and after them what a round's releases cost, one of each site at most."""
        sites = sorted({*self.events, *newer})
        return {s: (*self.events.get(s, ()), *([newer[s]] if s in newer else [])) for s in sites}


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Replace the checkpoint in ``folder`` (made if absent) at once, or leave it as it was.

    Raises:
        RunDirectoryError: the disk is full or cannot be written; the old checkpoint is intact.
    """
    partial, final = folder / f"{FILE_NAME}.partial", folder / FILE_NAME
    body = _pack(checkpoint)
    header = b"%s %d %s\n" % (_MAGIC, FORMAT_VERSION, hashlib.sha256(body).hexdigest().encode())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            file.write(header)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(final)
        _make_names_durable(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise RunDirectoryError(
            f"checkpoint: {final} cannot be written ({error.strerror}); the one before it is intact: make "
            f"room for {len(body)} bytes and resume"
        ) from error


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``.

    Raises:
        RunDirectoryError: there is none, it is damaged, or another version wrote it.
    """
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunDirectoryError(
            f"checkpoint: {path} cannot be read ({error.strerror}); only a run that began can be resumed"
        ) from error
    header, _, body = content.partition(b"\n")
    fields = header.split(b" ")
    if len(fields) != 3 or fields[0] != _MAGIC:
        raise RunDirectoryError(f"checkpoint: {path} is damaged or no checkpoint; start the run anew")
    if fields[1] != b"%d" % FORMAT_VERSION:
        raise RunDirectoryError(
            f"checkpoint: {path} has format {fields[1].decode(errors='replace')!r}, this version reads "
            f"{FORMAT_VERSION}; resume with the version of fedpeft that wrote it"
        )
    if fields[2] != hashlib.sha256(body).hexdigest().encode():
        raise RunDirectoryError(f"checkpoint: {path} is damaged (wrong SHA-256); start the run anew")
    return _unpack(body)


def _pack(checkpoint: Checkpoint) -> bytes:
    facts = {
        "run_id": checkpoint.run_id,
        "rounds_completed": checkpoint.rounds_completed,
        "scales": checkpoint.scales,
        "schedules": {site: dataclasses.asdict(s) for site, s in checkpoint.schedules.items()},
        "ledger_heads": checkpoint.ledger_heads,
        "events": {site: [dataclasses.asdict(e) for e in es] for site, es in checkpoint.events.items()},
        "records": checkpoint.records,
        "metrics_before": checkpoint.metrics_before,
    }
    arrays: dict[str, npt.NDArray[Any]]
    arrays = {_OPTIMIZER_PREFIX + name: array for name, array in checkpoint.optimizer.items()}
    arrays |= {_STATISTICS_PREFIX + name: array for name, array in checkpoint.statistics.items()}
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    arrays["adapter"] = checkpoint.adapter
    arrays["average"] = checkpoint.average
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _unpack(body: bytes) -> Checkpoint:
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    facts = json.loads(arrays.pop("facts").tobytes())
    adapter = arrays.pop("adapter")
    return Checkpoint(
        run_id=facts["run_id"],
        rounds_completed=facts["rounds_completed"],
        adapter=adapter,
        average=arrays.pop("average"),
        optimizer=_under(_OPTIMIZER_PREFIX, arrays),
        statistics=_under(_STATISTICS_PREFIX, arrays),
        scales=tuple(facts["scales"]),
        schedules={site: schedule_from_json(fields) for site, fields in facts["schedules"].items()},
        ledger_heads=facts["ledger_heads"],
        events={site: tuple(PrivacyEvent(**e) for e in es) for site, es in facts["events"].items()},
        records=tuple(facts["records"]),
        metrics_before=facts["metrics_before"],
    )


def schedule_from_json(fields: JsonDict) -> Schedule:
    """A schedule that ``dataclasses.asdict`` and JSON made plain."""
    pairs = {name: tuple(map(tuple, fields[name])) for name in ("parts", "votes")}
    return Schedule(**fields | pairs)


def _under(prefix: str, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def _make_names_durable(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
