# SPDX-License-Identifier: Apache-2.0
"""DP-Forward's states: clipped, noised once each, of one size, and nothing clean is left to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft.baselines.dp_forward import clip_and_noise, noise_inputs
from fedpeft.input_noise import InputNoise
from fedpeft.privacy.randomness import Randomness
from fedpeft.testing import tiny_config
from fedpeft.training.batches import plan_batches, to_tensors
from fedpeft.training.gradients import unit_gradients
from fedpeft.workspace import Workspace

NOISE = InputNoise(8.0, 1e-5, clip_norm=2.0)


@pytest.fixture(params=["off", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path):
    overrides = ["adapter.layers=[1]", "data.max_length=48", f'training.prefix_cache="{request.param}"']
    with Workspace(tiny_config(tmp_path, num_records=12, overrides=overrides), tmp_path / "run") as made:
        yield made


def released(workspace: Workspace, unit: str, site: str = "site0") -> torch.Tensor:
    (example,) = workspace.data[site].units[unit]
    prefix = workspace.execution.prefix
    assert prefix is not None
    return prefix.states([example], to_tensors([example], workspace.backbone.device).input_ids)[0]


@pytest.mark.parametrize("factor", [2 / 3, 1.0, 3 / 2])
def test_noise_has_the_standard_deviation_that_is_said(factor: float) -> None:
    zeros = torch.zeros(200, 500, dtype=torch.float64)
    found = float(clip_and_noise(zeros, NOISE, Randomness.seeded(1), "x").std())
    assert (abs(found / (factor * NOISE.stddev) - 1) < 0.01) is (factor == 1.0)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e30])
def test_what_is_noised_has_a_norm_of_at_most_c(scale: float) -> None:
    states = scale * torch.ones(3, 4, dtype=torch.float64)
    plain = clip_and_noise(states, NOISE, Randomness.seeded(1), "x")
    noise = clip_and_noise(torch.zeros_like(states), NOISE, Randomness.seeded(1), "x")
    assert float((plain - noise).norm()) <= 2.0 * (1 + 1e-12)
    assert float((plain - noise).norm()) == pytest.approx(min(2.0, float(states.norm())), abs=1e-9)


def test_what_is_not_finite_counts_as_zero() -> None:
    bad = torch.tensor([[float("inf"), 1.0], [float("nan"), 1.0]])
    good = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    one, other = (clip_and_noise(t, NOISE, Randomness.seeded(1), "x") for t in (bad, good))
    assert torch.equal(one, other)


def test_every_state_is_of_one_size_and_stays_the_same(workspace: Workspace) -> None:
    noise_inputs(workspace)
    for data in workspace.data.values():
        for (example,) in data.units.values():
            assert example.ids.size == 48
    unit = next(iter(workspace.data["site0"].units))
    first = released(workspace, unit)
    assert first.shape[0] == 48
    assert torch.equal(first, released(workspace, unit))


def test_equal_inputs_are_noised_apart(workspace: Workspace) -> None:
    units = workspace.data["site0"].units
    one, other, *_ = units
    units[other] = (replace(units[one][0]),)
    noise_inputs(workspace)
    assert not torch.equal(released(workspace, one), released(workspace, other))


def test_training_uses_the_noised_states_alone(workspace: Workspace) -> None:
    """Another prompt behind the same noised states gives the same gradients; another state does not."""
    noise_inputs(workspace)
    units = workspace.data["site0"].units
    name, other, *_ = units
    workspace.adapter.load(np.full(workspace.adapter.layout.size, 0.01, np.float32))

    def gradient(unit: str) -> torch.Tensor:
        (batch,) = plan_batches([units[unit]], 4096)
        return torch.cat(
            [
                g.flatten()
                for g in unit_gradients(workspace.model, workspace.adapter, batch, workspace.execution)
            ]
        )

    before = gradient(name)
    (example,) = units[name]
    example.ids[: example.num_prompt] = 5  # the same object, so that its states are found
    assert torch.equal(before, gradient(name))
    assert not torch.allclose(before, gradient(other))


def test_a_response_keeps_its_place_at_the_end(workspace: Workspace) -> None:
    before = {unit: example for unit, (example,) in workspace.data["site0"].units.items()}
    noise_inputs(workspace)
    for unit, (example,) in workspace.data["site0"].units.items():
        old = before[unit]
        assert np.array_equal(example.ids[example.num_prompt :], old.ids[old.num_prompt :])
        assert np.array_equal(example.ids[-old.ids.size :], old.ids)
