# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: checked before anything is loaded, made when everything else is ready."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fedpeft.checkpoint import Checkpoint, load
from fedpeft.config import RunConfig, load_config, to_toml
from fedpeft.errors import RunDirectoryError
from fedpeft.federation import CHECKPOINT_FOLDER
from fedpeft.layer_choice import SELECTION_FILE, choice_digest, chosen
from fedpeft.plan import Plan
from fedpeft.synthesis.begun import Begun
from fedpeft.synthesis.begun import load as load_begun
from fedpeft.types import SEEDED_PREFIX

CONFIG_FILE = "config.toml"
RESULT_FILE = "result.json"
BASELINES_FILE = "baselines.json"
MACHINE_KEYS: Final[dict[str, set[str]]] = {
    "model": {"device"},
    "training": {"max_tokens", "prefix_cache", "prefix_cache_mb", "activation_checkpointing"},
    "federation": {"deadline_s"},
    "run": {"threads", "tensorboard"},
}
"""Keys that say how a machine is used and change no result."""

_FREE_BYTES: Final = 64 << 20
_COPIES: Final = 8  # of the adapter vector, that a site's ledger, the checkpoint and the export may need


def check_folder(out: Path) -> None:
    """Refuse a folder that a new run must not use.

    Raises:
        RunDirectoryError: it exists and holds something, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"--out {out}: exists already; choose another folder, remove it, or go on with "
            f"`fedpeft resume {out}`"
        )


def prepare_folder(config: RunConfig, plan: Plan, out: Path) -> None:
    """Make the folder of a new run, with its configuration in it.

    Raises:
        RunDirectoryError: it must not be used, cannot be made, or the disk is too full.
    """
    check_folder(out)
    needed = _FREE_BYTES + 4 * _COPIES * plan.layout.state_size * (len(plan.sites) + 1)
    try:
        free = shutil.disk_usage(_nearest(out)).free
        if free < needed:
            raise RunDirectoryError(
                f"--out {out}: {free >> 20} MB are free, the run needs {needed >> 20} MB; "
                "make room or go elsewhere"
            )
        out.mkdir(parents=True, exist_ok=True)
        (out / CONFIG_FILE).write_text(to_toml(config), encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"--out {out}: cannot be written ({error.strerror}); choose another"
        ) from error


def open_run(folder: Path) -> tuple[RunConfig, Checkpoint | None]:
    """The configuration of a run that was begun, and its last checkpoint if it has one.

    Raises:
        RunDirectoryError: not the folder of a run, a damaged checkpoint, or an edited configuration.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise RunDirectoryError(f"{folder}: has no {CONFIG_FILE}, so it is not a run; name a run's folder")
    written = load_config(path)
    config = chosen(written, folder)
    checkpoints = folder / CHECKPOINT_FOLDER
    checkpoint = load(checkpoints) if checkpoints.is_dir() else None
    begun = load_begun(folder)
    _check_choice(begun, checkpoint, folder)
    begins_with = checkpoint or begun
    # A run with stages before its rounds begins before its blocks are chosen.
    committed = written if begun else config
    if begins_with and begins_with.run_id.rpartition("-")[2] != _digest(committed):
        raise RunDirectoryError(
            f"{path}: was changed since the run began, and its guarantee with it; restore it, "
            "or start a new run"
        )
    return config, checkpoint


def _check_choice(begun: Begun | None, checkpoint: Checkpoint | None, folder: Path) -> None:
    """Refuse a choice of blocks that this run did not make, and the lack of one that its rounds rest on."""
    digest = choice_digest(folder)
    absent = digest is None and (checkpoint is None or not begun or not begun.choice)
    if begun is not None and not absent and digest != begun.choice:
        raise RunDirectoryError(
            f"{folder / SELECTION_FILE}: was changed since the run chose its blocks, or is not its own; "
            "restore it, or start a new run"
        )


def open_unfinished(folder: Path) -> tuple[RunConfig, Checkpoint | None]:
    """A run that was begun and has rounds left to do.

    Raises:
        RunDirectoryError: as ``open_run``, or all rounds are complete.
    """
    config, checkpoint = open_run(folder)
    rounds = config.federation.rounds
    if checkpoint and checkpoint.rounds_completed >= rounds and (folder / RESULT_FILE).is_file():
        raise RunDirectoryError(f"{folder}: all {rounds} rounds are complete; its result is in {RESULT_FILE}")
    return config, checkpoint


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold the only right to conduct the run in ``out``; the operating system drops it with the process.

    A coordinator that was thought dead may still be at work; two of them would write one checkpoint.

    Raises:
        RunDirectoryError: another process has it.
    """
    descriptor = os.open(out, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"{out}: another process conducts this run; wait for it, or end it and resume"
            ) from error
        yield
    finally:
        os.close(descriptor)


def new_run_id(config: RunConfig) -> str:
    """A name that no other run has, with a digest of the configuration, which the sites' ledgers keep.

    A seeded run's begins with ``seeded-``, so that its ledgers do not pass for a guarantee.
    """
    prefix = "" if config.run.seed is None else SEEDED_PREFIX
    return f"{prefix}{uuid.uuid4().hex}-{_digest(config)}"


def _digest(config: RunConfig) -> str:
    """Of all keys but those that are about this machine only."""
    return hashlib.sha256(config.model_dump_json(exclude=MACHINE_KEYS).encode()).hexdigest()[:16]


def _nearest(path: Path) -> Path:
    """The deepest part of ``path`` that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
