# SPDX-License-Identifier: Apache-2.0
"""A private step in integers against one in float64, SmolLM2, r = 8 on all linears, 8 examples of 128 tokens.

Measured twice: with all blocks trained, and with the top block alone, where the backward pass is shortest and
noise weighs most. The gradients are computed once in every timed step, as in training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.loading import load_backbone
from fedpeft.config.options import option_names
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing.reference import dummy_examples
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients
from simulations.benchmarks.measure import interleaved, medians, ratio

ROUNDS = {"all_blocks": 6, "top_block": 10}
RANK, BATCH, TOKENS = 8, 8, 128


def run() -> dict[str, object]:
    """Ratios of whole steps with intervals, and of the part that differs alone."""
    model = load_backbone(ModelSettings()).model
    settings = {
        "all_blocks": AdapterSettings(rank=RANK),
        "top_block": AdapterSettings(rank=RANK, layers=(-1,)),
    }
    return {name: _measure(model, settings[name], rounds) for name, rounds in ROUNDS.items()}


def _measure(model: torch.nn.Module, settings: AdapterSettings, rounds: int) -> dict[str, object]:
    adapter = Adapter(model, settings)
    (batch,) = plan_batches([(e,) for e in dummy_examples([TOKENS] * BATCH, 40_000)], BATCH * TOKENS)
    gradients = unit_gradients(model, adapter, batch)

    def release(arithmetic: str, whole: bool) -> Callable[[], object]:
        def step() -> object:
            mechanism = PoissonGaussianSum(
                adapter.layout,
                scales=(1.0,) * len(adapter.layout.segments),
                clipping="automatic",
                noise_multiplier=1.0,
                sampling_rate=0.1,
                expected_batch=float(BATCH),
                unit="record",
                arithmetic=arithmetic,
            )
            mechanism.add(unit_gradients(model, adapter, batch) if whole else gradients)
            return mechanism.release(Randomness.fresh().stream("noise"))

        return step

    names = option_names("privacy.arithmetic")
    steps = interleaved({name: release(name, whole=True) for name in names}, rounds)
    parts = interleaved({name: release(name, whole=False) for name in names}, rounds)
    adapter.detach()
    return {
        "parameters": adapter.layout.size,
        "grid_to_float_step": ratio(steps, "grid", "float"),
        "median_seconds_step": medians(steps),
        "median_seconds_clip_sum_and_noise": medians(parts),
    }
