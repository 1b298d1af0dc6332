# SPDX-License-Identifier: Apache-2.0
"""A round against a slow reference: who is sampled, how units are summed, which noise each step gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.privacy.clipping import ROUNDING_SLACK
from fedpeft.privacy.noise import standard_normal
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.sampling import poisson_sample
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.settings import AdapterSettings
from fedpeft.testing import dummy_examples, loop_gradients, tiny_backbone
from fedpeft.training.local import LocalPlan, StepProgress, local_update

PLAN = LocalPlan(
    local_steps=3,
    learning_rate=0.5,
    noise_multiplier=0.2,
    sampling_rate=0.5,
    scales=(0.5, 2.0),
    clipping="flat",
    expected_batch=4.0,
    unit="owner",
    max_tokens=24,
)


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return Adapter(tiny_backbone().model, AdapterSettings(rank=2, layers=[1], modules=["q_proj", "v_proj"]))


@pytest.fixture(scope="module")
def units() -> dict[str, tuple[Example, ...]]:
    """Eight units of one to three examples, several to a micro-batch and one larger than that."""
    examples = dummy_examples(range(6, 6 + 16), 300)
    sizes = (1, 3, 2, 1, 2, 3, 1, 3)
    ends = np.cumsum(sizes)
    return {
        f"u{i}": tuple(examples[end - size : end])
        for i, (size, end) in enumerate(zip(sizes, ends, strict=True))
    }


ALIKE = UnitWeights()


def update(
    adapter: Adapter,
    units: Mapping[str, tuple[Example, ...]],
    plan: LocalPlan,
    seed: int,
    weights: UnitWeights = ALIKE,
) -> np.ndarray:
    start = 0.05 * np.random.default_rng(0).standard_normal(adapter.layout.size).astype(np.float32)
    randomness = Randomness.seeded(seed)
    return local_update(adapter.model, adapter, units, start, plan, randomness, weights=weights).value


def reference(
    adapter: Adapter,
    units: Mapping[str, tuple[Example, ...]],
    plan: LocalPlan,
    seed: int,
    weights: UnitWeights = ALIKE,
) -> np.ndarray:
    """The definition, unit by unit and example by example, with ordinary autograd."""
    start = 0.05 * np.random.default_rng(0).standard_normal(adapter.layout.size).astype(np.float32)
    scale = np.concatenate(
        [np.full(s.size, b) for s, b in zip(adapter.layout.segments, plan.scales, strict=True)]
    )
    randomness, state = Randomness.seeded(seed), start.astype(np.float64)
    for step in range(plan.local_steps):
        total = np.zeros_like(state)
        for name in poisson_sample(units, plan.sampling_rate, randomness, step):
            gradients = [loop_gradients(adapter, state.astype(np.float32), e) for e in units[name]]
            flat = sum(np.concatenate([g.double().numpy().ravel() for g in parts]) for parts in gradients)
            scaled = flat / scale
            bound = weights.of_unit.get(name, 1.0) ** 0.5
            total += scaled * min(1.0, bound / np.linalg.norm(scaled)) * (1 - ROUNDING_SLACK)
        noise = plan.noise_multiplier * standard_normal(randomness.stream("noise", step), total.size)
        state = state - plan.learning_rate * scale * (total + noise) / plan.expected_batch
    return state - start


@pytest.mark.parametrize("seed", [1, 2])
def test_a_round_is_its_definition(adapter: Adapter, units: dict, seed: int) -> None:
    expected = reference(adapter, units, PLAN, seed)
    got = update(adapter, units, PLAN, seed)
    assert np.linalg.norm(got - expected) < 1e-4 * np.linalg.norm(expected)


def test_units_of_each_task_are_clipped_to_their_own_norm(adapter: Adapter, units: dict) -> None:
    tasks = {"a": 0.04, "b": 0.25, "c": 1.0}
    of_unit = dict(zip(units, [tasks["abc"[i % 3]] for i in range(len(units))], strict=True))
    weights = UnitWeights(tuple(tasks.items()), of_unit)
    quiet = dataclasses.replace(PLAN, noise_multiplier=1e-6, scales=(1e-3, 1e-3))  # all are clipped
    expected = reference(adapter, units, quiet, 1, weights)
    distance = np.linalg.norm(update(adapter, units, quiet, 1, weights) - expected)
    assert distance < 1e-3 * np.linalg.norm(expected)
    assert np.linalg.norm(update(adapter, units, quiet, 1) - expected) > 0.1 * np.linalg.norm(expected)


@pytest.mark.parametrize("max_tokens", [1, 24, 10_000])
def test_micro_batches_do_not_change_the_result(adapter: Adapter, units: dict, max_tokens: int) -> None:
    """A mean in each micro-batch, or a unit clipped in pieces, would."""
    plan = dataclasses.replace(PLAN, max_tokens=max_tokens)
    np.testing.assert_allclose(
        update(adapter, units, plan, 1), update(adapter, units, PLAN, 1), rtol=1e-3, atol=1e-5
    )


def test_every_step_draws_noise_of_its_own(adapter: Adapter) -> None:
    """Without units a round is minus the sum of independent draws; the same draw twice would be larger."""
    wide = dataclasses.replace(PLAN, scales=(1.0, 1.0), learning_rate=1.0, local_steps=9)
    draws = np.concatenate([update(adapter, {}, wide, seed) for seed in range(100)])
    one_step = wide.noise_multiplier / wide.expected_batch
    assert draws.std() == pytest.approx(3 * one_step, rel=0.03)


def test_every_step_samples_anew(adapter: Adapter, units: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """At rate one half, two steps that sample alike every time have no samples of their own."""
    from fedpeft.training import local

    seen: list[tuple[str, ...]] = []

    def watching(*arguments: object) -> list[str]:
        chosen = poisson_sample(*arguments)  # type: ignore[arg-type]
        seen.append(tuple(chosen))
        return chosen

    monkeypatch.setattr(local, "poisson_sample", watching)
    for seed in range(5):
        update(adapter, units, PLAN, seed)
    assert len(seen) == 5 * PLAN.local_steps
    assert len(set(seen)) > 5


def test_the_event_counts_every_step_and_the_start_is_left_alone(adapter: Adapter, units: dict) -> None:
    start = np.zeros(adapter.layout.size, dtype=np.float32)
    start.setflags(write=False)
    released = local_update(adapter.model, adapter, units, start, PLAN, Randomness.fresh())
    assert released.event.steps == PLAN.local_steps
    assert released.value.dtype == np.float32
    assert not start.any()


def test_progress_reaches_the_end_of_every_step(adapter: Adapter, units: dict) -> None:
    heard: list[StepProgress] = []
    plan = dataclasses.replace(PLAN, sampling_rate=1.0)
    start = np.zeros(adapter.layout.size, dtype=np.float32)
    local_update(adapter.model, adapter, units, start, plan, Randomness.fresh(), heard.append)
    last = [p for p in heard if p.tokens_done == p.tokens_in_step]
    assert [p.step for p in last] == [1, 2, 3]


def test_a_smaller_rank_clips_and_noises_its_own_part_alone(adapter: Adapter, units: dict) -> None:
    """Against the definition: gradients are cut first, and what is not trained fills none of the norm."""
    narrow, part = dataclasses.replace(PLAN, rank=1, local_steps=1, scales=(0.01, 0.01)), adapter.part(1)
    start = 0.05 * np.random.default_rng(0).standard_normal(adapter.layout.size).astype(np.float32)
    randomness, total = Randomness.seeded(1), np.zeros(part.size)
    for name in poisson_sample(units, narrow.sampling_rate, randomness, 0):
        gradients = [loop_gradients(adapter, start, e) for e in units[name]]
        flat = sum(np.concatenate([g.double().numpy().ravel() for g in parts]) for parts in gradients)
        scaled = part.take(flat) / 0.01
        total += scaled * min(1.0, 1 / np.linalg.norm(scaled)) * (1 - ROUNDING_SLACK)
    noise = narrow.noise_multiplier * standard_normal(randomness.stream("noise", 0), part.size)
    expected = -narrow.learning_rate * 0.01 * (total + noise) / narrow.expected_batch
    got = update(adapter, units, narrow, 1)
    assert got.shape == (part.size,) == (adapter.layout.size // 2,)
    assert np.linalg.norm(got - expected) < 1e-4 * np.linalg.norm(expected)
    cut_late = part.take(update(adapter, units, dataclasses.replace(narrow, rank=0), 1))  # the control
    assert np.linalg.norm(cut_late - expected) > 0.05 * np.linalg.norm(expected)


def test_what_is_carried_is_held_fixed_and_not_released(units: dict) -> None:
    settings = AdapterSettings(kind="lora", rank=2, residual_rank=3, layers=[1], modules=["q_proj", "v_proj"])
    with_residual = Adapter(tiny_backbone().model, settings)
    layout = with_residual.layout
    start = 0.05 * np.random.default_rng(0).standard_normal(layout.state_size).astype(np.float32)
    plan = dataclasses.replace(PLAN, scales=(1.0,) * 4)
    released = local_update(
        with_residual.model, with_residual, units, start, plan, Randomness.seeded(1)
    ).value
    assert released.shape == (layout.size,)
    for module, (left, right) in zip(
        with_residual.modules, zip(layout.carried[::2], layout.carried[1::2], strict=True), strict=True
    ):
        assert module.residual is not None
        np.testing.assert_array_equal(module.residual[0].numpy().ravel(), start[left.slice])
        np.testing.assert_array_equal(module.residual[1].numpy().ravel(), start[right.slice])
