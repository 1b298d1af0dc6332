# SPDX-License-Identifier: Apache-2.0
"""Kept tensors: what goes in comes out, the limit holds, and a file leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from fedpeft.training import state_store
from fedpeft.training.state_store import StateStore

PAGE = 1 << 16


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_store, "_CHUNK", PAGE)


@pytest.fixture(params=["memory", "disk"])
def make(request: pytest.FixtureRequest, tmp_path: Path):
    return lambda limit: StateStore(limit, None if request.param == "memory" else lambda: tmp_path)


def test_what_goes_in_comes_out(make) -> None:
    store = make(100 * PAGE)
    values = {bytes([i]): torch.randn(i + 1, 33, dtype=dtype) for i, dtype in enumerate(
        [torch.float32, torch.bfloat16, torch.float64, torch.float32]
    )}  # fmt: skip
    for key, value in values.items():
        store.put(key, value)
    assert store.get(b"none") is None
    for key, value in values.items():
        kept = store.get(key)
        assert kept.dtype == value.dtype
        assert torch.equal(kept, value)


def test_over_many_chunks_and_one_value_larger_than_a_chunk(make) -> None:
    store = make(100 * PAGE)
    values = [torch.full((PAGE // 4 // 3,), float(i)) for i in range(20)] + [torch.arange(PAGE)]
    for i, value in enumerate(values):
        store.put(b"%d" % i, value)
    assert all(torch.equal(store.get(b"%d" % i), value) for i, value in enumerate(values))


def test_never_more_than_the_limit(make) -> None:
    store = make(3 * PAGE)
    for i in range(100):
        store.put(b"%d" % i, torch.zeros(PAGE // 8))  # half a chunk each
    assert len(store) == 6
    assert store.num_bytes <= 3 * PAGE


def test_a_copy_is_kept(make) -> None:
    store, value = make(PAGE), torch.ones(4)
    store.put(b"k", value)
    value.zero_()
    store.put(b"k", value)  # what is kept stays
    assert torch.equal(store.get(b"k"), torch.ones(4))


def test_the_file_has_no_name_and_its_descriptor_is_closed(tmp_path: Path) -> None:
    store = StateStore(PAGE, lambda: tmp_path)
    store.put(b"k", torch.ones(4))
    assert list(tmp_path.iterdir()) == []
    assert any("(deleted)" in os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors(tmp_path))
    del store
    assert _descriptors(tmp_path) == []


def test_a_full_disk_costs_speed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = StateStore(100 * PAGE, lambda: tmp_path)
    store.put(b"a", torch.ones(PAGE // 4))
    monkeypatch.setattr(os, "posix_fallocate", full)
    store.put(b"b", torch.ones(PAGE // 4))
    store.put(b"c", torch.ones(PAGE // 4))
    assert store.get(b"a") is not None
    assert store.get(b"b") is None
    assert caplog.text.count("No space left") == 1


def _descriptors(folder: Path) -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):
                found.append(fd)
        except OSError:
            continue
    return found


def test_a_share_keeps_so_much_and_leaves_the_rest_to_others() -> None:
    whole = StateStore(1 << 20)
    share = whole.share(100)
    state = torch.arange(20, dtype=torch.float32)  # 80 bytes
    for key in (b"a", b"a", b"b"):
        share.put(key, state)
    assert share.get(b"b") is None
    assert torch.equal(share.get(b"a"), state)
    whole.put(b"b", state)
    assert torch.equal(share.get(b"b"), state)
    assert len(share) == len(whole) == 2
    assert share.num_bytes == whole.num_bytes
