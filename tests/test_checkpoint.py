# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is whole or absent: full disks, crashes, damaged files, other versions."""

import errno
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from fedpeft import checkpoint as checkpoints
from fedpeft.checkpoint import FILE_NAME, Checkpoint, load, save
from fedpeft.errors import RunDirectoryError
from fedpeft.types import PrivacyEvent, Schedule


def _checkpoint(rounds=2) -> Checkpoint:
    random = np.random.default_rng(rounds)
    return Checkpoint(
        run_id="r1",
        rounds_completed=rounds,
        adapter=random.standard_normal(50).astype(np.float32),
        average=random.standard_normal(50),
        optimizer={"first": random.standard_normal(50), "step": np.array([2.0])},
        statistics={"mean": random.standard_normal(50), "rounds": np.array([2.0])},
        scales=(0.1 + 0.2, 2.0**40),
        schedules={"north": Schedule.constant("r1", 1.1, 0.1, 8, "record")},
        ledger_heads={"north": "ab12"},
        events={"north": (PrivacyEvent("poisson-gaussian", 1.1, 0.1, 2, "record"),)},
        records=({"round": 1, "update_norm": 0.1 + 0.2}, {"round": 2, "update_norm": 1e-300}),
        metrics_before={"perplexity": {"value": 12.5, "low": 12.0, "high": 13.0}},
    )


def _assert_same(left: Checkpoint, right: Checkpoint) -> None:
    assert left.adapter.dtype == right.adapter.dtype == np.float32
    assert left.adapter.tobytes() == right.adapter.tobytes()
    assert left.average.dtype == right.average.dtype == np.float64
    assert left.average.tobytes() == right.average.tobytes()
    assert {k: v.tobytes() for k, v in left.optimizer.items()} == {
        k: v.tobytes() for k, v in right.optimizer.items()
    }
    assert {k: v.tobytes() for k, v in left.statistics.items()} == {
        k: v.tobytes() for k, v in right.statistics.items()
    }
    for field in fields(Checkpoint):
        if field.name not in ("adapter", "average", "optimizer", "statistics"):
            assert getattr(left, field.name) == getattr(right, field.name)


def test_round_trip_is_exact(tmp_path):
    save(_checkpoint(), tmp_path / "checkpoint")
    _assert_same(load(tmp_path / "checkpoint"), _checkpoint())


def test_fresh_state_round_trips(tmp_path):
    fresh = Checkpoint.fresh("r2", np.zeros(3, np.float32), {})
    save(fresh, tmp_path)
    _assert_same(load(tmp_path), fresh)


def test_replaces_the_old_one_and_leaves_no_other_file(tmp_path):
    save(_checkpoint(1), tmp_path)
    save(_checkpoint(2), tmp_path)
    assert load(tmp_path).rounds_completed == 2
    assert os.listdir(tmp_path) == [FILE_NAME]


def _fail_after(num_bytes: int):
    """A file whose disk is full after ``num_bytes``."""
    real_open = Path.open

    def opener(self, mode="r", *args, **kwargs):
        file = real_open(self, mode, *args, **kwargs)
        if "w" not in mode:
            return file
        written = 0
        real_write = file.write

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *args):
                file.close()

            def write(self, data):
                nonlocal written
                room = num_bytes - written
                real_write(data[:room])
                written += len(data)
                if written > num_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            def flush(self):
                file.flush()

            def fileno(self):
                return file.fileno()

        return Full()

    return opener


@pytest.mark.parametrize("room", [0, 10, 100, 500])
def test_full_disk_leaves_the_old_one_intact(tmp_path, monkeypatch, room):
    save(_checkpoint(1), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", _fail_after(room))
        with pytest.raises(RunDirectoryError, match="No space left on device"):
            save(_checkpoint(2), tmp_path)
    _assert_same(load(tmp_path), _checkpoint(1))
    assert os.listdir(tmp_path) == [FILE_NAME]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failure_before_the_rename_leaves_the_old_one_intact(tmp_path, monkeypatch, step):
    save(_checkpoint(1), tmp_path)

    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
        with pytest.raises(RunDirectoryError, match="Input/output error"):
            save(_checkpoint(2), tmp_path)
    _assert_same(load(tmp_path), _checkpoint(1))


def test_is_durable_before_it_is_renamed_and_the_name_after(tmp_path, monkeypatch):
    steps = []
    real_fsync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), real_replace(self, to))[1])
    save(_checkpoint(), tmp_path)
    assert steps == ["fsync", "rename", "fsync"]


def test_a_crash_while_writing_leaves_the_old_one(tmp_path):
    save(_checkpoint(1), tmp_path)
    (tmp_path / f"{FILE_NAME}.partial").write_bytes(b"half a che")
    _assert_same(load(tmp_path), _checkpoint(1))
    save(_checkpoint(2), tmp_path)
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_every_changed_byte_is_noticed(tmp_path):
    save(_checkpoint(), tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        (tmp_path / FILE_NAME).write_bytes(damaged)
        with pytest.raises(RunDirectoryError, match=r"^checkpoint: .*(damaged|format)"):
            load(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 18, 60, 84, 85, 300, -1])
def test_truncated_file_is_refused(tmp_path, keep):
    save(_checkpoint(), tmp_path)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[:keep])
    with pytest.raises(RunDirectoryError, match="damaged"):
        load(tmp_path)


def test_other_version_is_refused_by_name(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT_VERSION", 7)
        save(_checkpoint(), tmp_path)
    with pytest.raises(RunDirectoryError, match="format '7', this version reads 2"):
        load(tmp_path)


def test_absent_checkpoint_is_a_clear_error(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"checkpoint: .*No such file.*resumed"):
        load(tmp_path)


def test_a_pickle_is_never_written_nor_read(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        save(replace(_checkpoint(), optimizer={"bad": np.array([object()])}), tmp_path)
