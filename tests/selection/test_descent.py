# SPDX-License-Identifier: Apache-2.0
"""Training on public rows is the run's own: same gradients, same clipping, noise of the same size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.selection.descent import Descent
from fedpeft.selection.regime import Regime, noise_of
from fedpeft.settings import AdapterSettings, FederationSettings
from fedpeft.testing import loop_gradients, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from tests.selection.conftest import rows, small_regime


def descent_of(regime: Regime, perturbations: int = 0, batch: int = 4) -> Descent:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=2))
    return Descent(adapter, regime, batch, perturbations)


def is_of_size(noise: np.ndarray, deviation: float) -> bool:
    """At about five standard errors of a sample standard deviation."""
    return bool(abs(noise.std() / deviation - 1) < 5 / np.sqrt(2 * noise.size))


def noise_of_steps(descent: Descent, number: int = 0) -> np.ndarray:
    some, point = rows(4), np.zeros(descent.adapter.layout.size)
    clean = descent.mean_gradient(some, point.astype(np.float32))
    random = np.random.default_rng(0)
    return np.concatenate([descent.step(some, point, number, random) - clean for _ in range(3)])


def test_noise_has_the_size_of_the_runs_own_batch() -> None:
    sigma, batch, clip = 1.7, 200.0, 3.0
    regime = Regime((noise_of([sigma], [batch]),), (1.0,), 1, "flat", clip, FederationSettings())
    noise = noise_of_steps(descent_of(regime))
    assert is_of_size(noise, sigma * clip / batch)
    assert not is_of_size(noise, sigma * clip / batch * 2 / 3)
    assert not is_of_size(noise, sigma * clip / batch * 3 / 2)


def test_noise_is_that_of_a_private_step() -> None:
    """The mechanism of a site, on as many rows as it expects, against the trial's."""
    some, sigma = rows(4), 0.8
    descent = descent_of(
        Regime((noise_of([sigma], [4.0]),), (1.0,), 1, "automatic", 2.0, FederationSettings())
    )
    adapter = descent.adapter
    mechanism = PoissonGaussianSum(
        adapter.layout, scales=(2.0,) * len(adapter.layout.segments), clipping="automatic",
        noise_multiplier=sigma, sampling_rate=1.0, expected_batch=4.0, unit="record",
    )  # fmt: skip
    adapter.load(adapter.zeros())
    for batch in plan_batches([(row,) for row in some], 2048):
        mechanism.add(unit_gradients(adapter.model, adapter, batch))
    private = mechanism.release(Randomness.seeded(0).stream("noise")).value
    clean = descent.mean_gradient(some, adapter.zeros())
    assert is_of_size(private - clean, np.std(noise_of_steps(descent)))
    assert np.linalg.norm(clean) > 0.01


@pytest.mark.parametrize("clipping", ["flat", "automatic", "quantile"])
def test_gradients_are_clipped_row_by_row(clipping: str) -> None:
    regime = Regime((0.0,), (1.0,), 1, clipping, 0.05, FederationSettings())
    descent, some = descent_of(regime), rows(3)
    vector = descent.adapter.zeros()
    found = descent.mean_gradient(some, vector)
    expected = np.zeros(vector.size)
    for row in some:
        whole = (
            torch.cat([g.flatten() for g in loop_gradients(descent.adapter, vector, row)]).double().numpy()
        )
        norm = np.linalg.norm(whole) / 0.05
        assert norm > 1, "nothing is clipped, so this test sees nothing"
        expected += whole / (norm + 0.01 if clipping == "automatic" else max(1.0, norm)) / 3
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_a_row_that_is_no_number_adds_zero() -> None:
    descent, some = descent_of(small_regime(0.0)), rows(2)
    with torch.no_grad():
        descent.adapter.model.get_input_embeddings().weight[int(some[1].ids[0])] = float("nan")
    found = descent.mean_gradient(some, descent.adapter.zeros())
    alone = descent.mean_gradient(some[:1], descent.adapter.zeros())
    assert np.isfinite(found).all()
    assert np.allclose(found, alone / 2, atol=1e-7)
    assert descent.loss(some, descent.adapter.zeros()) == np.inf


def test_the_worst_is_at_least_every_draw() -> None:
    descent = descent_of(small_regime(0.5), perturbations=5)
    for seed in range(3):
        worst = descent.worst(rows(3), descent.adapter.zeros(), 0, np.random.default_rng(seed))
        assert len(set(worst.losses)) == 5
        assert worst.loss == max(worst.losses)
        assert descent.loss(rows(3), worst.vector) == pytest.approx(worst.loss, rel=1e-6)


def test_perturbations_have_the_size_of_the_noise_of_one_update() -> None:
    regime = small_regime(0.1, learning_rate=0.5, server_learning_rate=0.25)
    descent = descent_of(regime, perturbations=1)
    worst = descent.worst(rows(2), descent.adapter.zeros(), 0, np.random.default_rng(0))
    assert is_of_size(worst.vector.astype(np.float64), 0.1 * 0.5 * 0.25)


def test_without_perturbations_the_adapter_itself_is_scored() -> None:
    descent = descent_of(small_regime(0.5))
    worst = descent.worst(rows(3), descent.adapter.zeros(), 0, np.random.default_rng(0))
    assert not worst.vector.any()
    assert worst.losses == (worst.loss,)


def test_training_without_noise_learns_and_repeats() -> None:
    descent = descent_of(small_regime(0.0, rounds=8))
    untouched = descent.loss(rows(8), descent.adapter.zeros())
    first, again, other = (descent.train(rows(8), seed) for seed in (0, 0, 1))
    assert descent.loss(rows(8), first) < 0.9 * untouched
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_average_of_iterates_is_what_is_scored_where_the_run_exports_it() -> None:
    regime = small_regime(0.05, rounds=6)
    averaging = Regime(
        regime.noise, regime.learning_rates, 1, "automatic", 1.0, FederationSettings(average_iterates=True)
    )
    last, average = (descent_of(r).train(rows(8), 0) for r in (regime, averaging))
    assert 0 < np.linalg.norm(average) < np.linalg.norm(last)


def test_local_steps_are_taken_before_the_server_moves() -> None:
    """One round of two steps at the server's rate 1/2 goes half as far as the two steps."""
    whole = Regime((0.0,), (1.0,), 2, "flat", 1.0, FederationSettings(average_iterates=False))
    half = Regime(
        (0.0,), (1.0,), 2, "flat", 1.0, FederationSettings(average_iterates=False, server_learning_rate=0.5)
    )
    far, near = (descent_of(regime).train(rows(8), 0) for regime in (whole, half))
    assert np.allclose(2 * near, far, atol=1e-6)


def test_training_can_begin_somewhere_else() -> None:
    descent = descent_of(small_regime(0.0, rounds=3))
    start = descent.train(rows(8), 0)
    further = descent.train(rows(8), 1, start=start)
    assert descent.loss(rows(8), further) < descent.loss(rows(8), start)


def test_scales_are_those_of_a_private_step() -> None:
    """Against the mechanism of a site, whose noise is next to nothing here: the same clipped mean."""
    some, sigma, clip = rows(4), 0.8, 2.0
    regime = Regime((noise_of([sigma], [4.0]),), (1.0,), 1, "flat", clip, FederationSettings())
    plain = descent_of(regime)
    layout, vector = plain.adapter.layout, plain.adapter.zeros()
    scales = tuple(clip * (0.1, 3.0)[number % 2] for number in range(len(layout.segments)))
    descent = replace(plain, scales=scales)
    mechanism = PoissonGaussianSum(
        layout, scales=scales, clipping="flat", noise_multiplier=1e-4, sampling_rate=1.0, expected_batch=4.0,
        unit="record",
    )  # fmt: skip
    plain.adapter.load(vector)
    for batch in plan_batches([(row,) for row in some], 2048):
        mechanism.add(unit_gradients(plain.adapter.model, plain.adapter, batch))
    private = mechanism.release(Randomness.seeded(0).stream("noise")).value
    clean = descent.mean_gradient(some, vector)
    assert np.linalg.norm(clean - private) < 0.05 * np.linalg.norm(private)
