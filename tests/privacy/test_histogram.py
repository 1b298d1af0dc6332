# SPDX-License-Identifier: Apache-2.0
"""Histograms of votes: what one unit can add, and the noise that covers it, with controls that must fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from fedpeft.errors import MechanismError
from fedpeft.privacy.arithmetic import float as float_module
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.privacy.clipping import ROUNDING_SLACK
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.mechanism import release_histogram
from fedpeft.privacy.randomness import Randomness

MULTIPLIER = 2.0
BINS = 5
KEPT = 1 - ROUNDING_SLACK


@pytest.fixture(params=("float", "grid"))
def arithmetic(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def release(votes: np.ndarray, arithmetic: str, seed: int = 0) -> np.ndarray:
    stream = Randomness.seeded(seed).stream("vote")
    return release_histogram(
        [votes],
        votes.shape[-1],
        noise_multiplier=MULTIPLIER,
        unit="record",
        arithmetic=arithmetic,
        stream=stream,
    ).value


@pytest.fixture
def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_module, "standard_normal", lambda _stream, count: np.zeros(count))
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda _stream, n: np.zeros(n, dtype=np.int64))


VOTES = {
    "one": [[1.0, 0, 0, 0, 0]],
    "a tie": [[0.5**0.5, 0.5**0.5, 0, 0, 0]],
    "too long": [[1.0, 1.0, 1.0, 0, 0]],
    "far too long": [[1e100, 1e-100, -1e100, 0, 0]],
    "negative": [[-1.0, 0, 0, 0, 0]],
}


@pytest.mark.usefixtures("noiseless")
@pytest.mark.parametrize("name", VOTES)
def test_a_unit_adds_at_most_one_and_reaches_it(name: str, arithmetic: str) -> None:
    others = np.random.default_rng(1).normal(size=(30, BINS))
    one = np.array(VOTES[name])
    moved = release(np.concatenate([others, one]), arithmetic) - release(others, arithmetic)
    assert KEPT - 1e-6 <= np.linalg.norm(moved) <= 1.0


@pytest.mark.usefixtures("noiseless")
def test_votes_that_nobody_shortens_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch, arithmetic: str
) -> None:
    import fedpeft.privacy.mechanism as module

    monkeypatch.setattr(module, "clip_factors", lambda rows, *_: rows[0].new_ones(len(rows[0])))
    assert np.linalg.norm(release(np.array(VOTES["too long"]), arithmetic)) > 1.5


@pytest.mark.usefixtures("noiseless")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vote_that_is_not_finite_counts_as_none(bad: float, arithmetic: str) -> None:
    votes = np.eye(BINS)
    with_bad = np.concatenate([votes, [[0.5, bad, 0, 0, 0]]])
    assert np.array_equal(release(with_bad, arithmetic), release(votes, arithmetic))


@pytest.mark.usefixtures("noiseless")
def test_zero_votes_add_nothing(arithmetic: str) -> None:
    assert not release(np.zeros((7, BINS)), arithmetic).any()
    assert not release(np.zeros((0, BINS)), arithmetic).any()


def deviation(arithmetic: str) -> float:
    votes = np.zeros((3, 20_000))
    return float(np.std(release(votes, arithmetic))) / MULTIPLIER


def test_noise_has_the_deviation_the_event_states(arithmetic: str) -> None:
    assert abs(deviation(arithmetic) - 1) < 0.03


@pytest.mark.parametrize("factor", [2 / 3, 0.95, 3 / 2])
def test_other_noise_would_be_noticed(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    honest = float_module.standard_normal
    monkeypatch.setattr(float_module, "standard_normal", lambda stream, n: factor * honest(stream, n))
    assert abs(deviation("float") - 1) >= 0.03


def test_every_bin_of_an_empty_site_is_noised(arithmetic: str) -> None:
    values = np.array([release(np.zeros((0, BINS)), arithmetic, seed) for seed in range(400)])
    assert np.std(values, axis=0) == pytest.approx(np.full(BINS, MULTIPLIER), rel=0.2)
    off = np.corrcoef(values.T) - np.eye(BINS)
    assert np.abs(off).max() < 0.25


def test_permuted_units_have_the_same_release(arithmetic: str) -> None:
    votes = np.random.default_rng(3).random((40, BINS))
    permuted = np.random.default_rng(4).permutation(votes)
    assert release(permuted, arithmetic) == pytest.approx(release(votes, arithmetic), abs=1e-9)


def test_the_event_is_of_every_unit() -> None:
    stream = Randomness.seeded(0).stream("vote")
    released = release_histogram(
        [np.eye(2)], 2, noise_multiplier=3.5, unit="patient", arithmetic="float", stream=stream
    )
    event = released.event
    assert dataclasses.astuple(event) == ("gaussian", 3.5, 1.0, 1, "patient")


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_multipliers_are_refused(multiplier: float) -> None:
    stream = Randomness.seeded(0).stream("vote")
    with pytest.raises(MechanismError, match="noise_multiplier"):
        release_histogram([], 2, noise_multiplier=multiplier, unit="r", arithmetic="float", stream=stream)


@pytest.mark.parametrize("size", [1, 7, 39, 100])
def test_blocks_have_the_release_of_the_whole(arithmetic: str, size: int) -> None:
    votes = np.random.default_rng(3).normal(size=(40, BINS))
    votes[11, 2] = np.nan

    def refilled() -> Iterator[np.ndarray]:  # one array for all blocks
        for start in range(0, len(votes), size):
            block[:] = 0.0
            block[: len(votes) - start] = votes[start : start + size]
            yield block

    block, stream = np.zeros((size, BINS)), Randomness.seeded(0).stream("vote")
    released = release_histogram(
        refilled(), BINS, noise_multiplier=MULTIPLIER, unit="r", arithmetic=arithmetic, stream=stream
    )
    if arithmetic == "grid":
        assert np.array_equal(released.value, release(votes, arithmetic))
    assert released.value == pytest.approx(release(votes, arithmetic), abs=1e-9)


def test_a_block_of_other_bins_is_refused() -> None:
    stream = Randomness.seeded(0).stream("vote")
    with pytest.raises(MechanismError, match="votes"):
        release_histogram(
            [np.eye(2), np.eye(3)], 2, noise_multiplier=1.0, unit="r", arithmetic="float", stream=stream
        )


@pytest.mark.parametrize("shape", [(3,), (3, 0), (1, 2, 3)])
def test_what_is_no_table_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MechanismError, match=r"votes|num_bins"):
        release(np.zeros(shape), "float")


REQUEST = VoteRequest("run", "run:a:v", 2.0, "e", 1, np.ones((2, 3), dtype=np.float32), "head")
CHANGES = {
    "run_id": "other", "request_id": "run:a:w", "noise_multiplier": 2.5, "embedding": "f", "neighbours": 2,
    "bins": np.zeros((2, 3), dtype=np.float32), "protocol": 2,
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_a_digest_covers_every_field(field: str) -> None:
    assert dataclasses.replace(REQUEST, **{field: CHANGES[field]}).digest() != REQUEST.digest()


def test_a_digest_covers_the_shape_and_not_the_head() -> None:
    turned = dataclasses.replace(REQUEST, bins=np.ones((3, 2), dtype=np.float32))
    assert turned.digest() != REQUEST.digest()
    assert dataclasses.replace(REQUEST, ledger_head="newer").digest() == REQUEST.digest()
    assert {field.name for field in dataclasses.fields(REQUEST)} == {*CHANGES, "ledger_head"}
