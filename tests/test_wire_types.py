# SPDX-License-Identifier: Apache-2.0
"""Numbers of two bytes: rounded as torch rounds them, never to infinity, of no consequence for privacy."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft.aggregation.mean import Rule
from fedpeft.testing import run_tiny_federation
from fedpeft.wire_types import WIRE_TYPES, narrow, widen, wire_bytes

NARROW = ["float16", "bfloat16"]


def _anything() -> np.ndarray:
    """Float32 of every magnitude, with ties."""
    bits = np.random.default_rng(5).integers(0, 2**32, 200_000, dtype=np.uint32)
    ties = (bits[:1000] & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    found = np.concatenate([bits, ties]).view(np.float32)
    return found[np.isfinite(found)]


@pytest.mark.parametrize("wire_type", NARROW)
def test_rounds_as_torch_does_where_torch_stays_finite(wire_type: str) -> None:
    values = _anything()
    expected = torch.from_numpy(values).to(getattr(torch, wire_type)).float().numpy()
    found = widen(narrow(values, wire_type), wire_type)
    fits = np.isfinite(expected)
    assert fits.sum() > 50_000
    assert found[fits].tobytes() == expected[fits].tobytes()
    assert np.isfinite(found).all()  # where torch says infinity, the largest there is
    assert np.array_equal(np.sign(found[~fits]), np.sign(values[~fits]))


@pytest.mark.parametrize("wire_type", WIRE_TYPES)
def test_what_was_rounded_is_not_rounded_again(wire_type: str) -> None:
    data = narrow(_anything(), wire_type)
    again = widen(data, wire_type)
    assert narrow(again, wire_type) == data
    assert len(data) == wire_bytes(len(again), wire_type)
    assert again.dtype == np.float32
    assert not again.flags.writeable


@pytest.mark.parametrize("wire_type", WIRE_TYPES)
def test_what_is_not_finite_stays_so_and_is_seen(wire_type: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    values = np.concatenate(
        [values, np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)]
    )
    found = widen(narrow(values, wire_type), wire_type)
    assert np.isnan(found[[0, 4, 5, 6]]).all()
    assert found[1:3].tolist() == [np.inf, -np.inf]
    assert np.signbit(found[3])


@pytest.mark.parametrize("wire_type", NARROW)
def test_the_server_sums_in_float64(wire_type: str) -> None:
    """In two bytes 4096 + 1 is 4096, in four 2**24 + 1 is 2**24."""
    large, one = (widen(narrow(np.full(1, v, np.float32), wire_type), wire_type) for v in (4096.0, 1.0))
    mean = Rule(1)
    mean.add(large, 1.0)
    for _ in range(3):
        mean.add(one, 1.0)
    mean.add(one, 2.0**20)
    assert mean.result().dtype == np.float64
    assert mean.result()[0] * (4 + 2**20) == pytest.approx(4096 + 3 + 2**20, rel=1e-14)


def _ledger_rows(folder: Path) -> list[tuple]:
    with sqlite3.connect(folder / "run/ledger/site0.sqlite") as ledger:
        rows = ledger.execute("SELECT schedule, epsilon, delta FROM commitments").fetchall()
        return rows + ledger.execute("SELECT event FROM events").fetchall()


@pytest.mark.parametrize("wire_type", NARROW)
def test_a_run_costs_half_the_bytes_and_exactly_the_same_privacy(tmp_path: Path, wire_type: str) -> None:
    results, rows = [], []
    for chosen in ("float32", wire_type):
        overrides = [f'federation.wire_type="{chosen}"', "run.seed=3"]
        results.append(run_tiny_federation(tmp_path / chosen, num_sites=1, rounds=2, overrides=overrides))
        rows.append(_ledger_rows(tmp_path / chosen))
    wide, small = results
    for key in ("epsilon", "epsilon_spent", "epsilon_by_site", "noise_multiplier_by_site", "delta"):
        assert wide[key] == small[key]
    assert rows[0] == rows[1]
    for key in ("bytes_up", "bytes_down"):
        assert wide[key] == 2 * small[key] > 0
    norms = [
        json.loads(line)["update_norm"]
        for chosen in ("float32", wire_type)
        for line in (tmp_path / chosen / "run/rounds.jsonl").read_text().splitlines()
    ]
    assert norms[:2] != norms[2:]  # it was rounded,
    assert norms[:2] == pytest.approx(norms[2:], rel=0.01)  # and no more than that
