# SPDX-License-Identifier: Apache-2.0
"""A private step against an ordinary one, SmolLM2, r = 8 on all linears, 8 examples of 128 tokens.

Ours is the whole step: gradients of each example, scaling, clipping, sum, noise, update. The ordinary one is
peft's LoRA (A and B trained) with plain SGD and the same head on response rows only. What the gathered head
gains is measured apart, on the ordinary step.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.loading import load_backbone
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing.reference import dummy_examples
from fedpeft.training.batches import plan_batches, to_tensors
from fedpeft.training.gradients import example_losses, unit_gradients
from simulations.benchmarks.measure import interleaved, medians, ratio

ROUNDS = 24
RANK, BATCH, TOKENS, LEARNING_RATE = 8, 8, 128, 0.1


def run() -> dict[str, object]:
    """Median ratios with intervals."""
    model = load_backbone(ModelSettings()).model
    examples = dummy_examples([TOKENS] * BATCH, 40_000)
    cpu = next(model.parameters()).device
    plain = copy.deepcopy(model)
    peft_model = get_peft_model(
        plain, LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    sgd = torch.optim.SGD([p for p in peft_model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    adapter = Adapter(model, AdapterSettings(rank=RANK))
    state = adapter.zeros().astype(np.float64)
    (batch,) = plan_batches([(e,) for e in examples], BATCH * TOKENS)

    def private() -> None:
        nonlocal state
        adapter.load(state.astype(np.float32))
        mechanism = PoissonGaussianSum(
            adapter.layout,
            scales=(1.0,) * len(adapter.layout.segments),
            clipping="automatic",
            noise_multiplier=1.0,
            sampling_rate=0.1,
            expected_batch=float(BATCH),
            unit="record",
        )
        mechanism.add(unit_gradients(model, adapter, batch))
        released = mechanism.release(Randomness.fresh().stream("noise"))
        state = state - LEARNING_RATE * 1e-3 * released.value

    def ordinary() -> None:
        (example_losses(plain, examples, cpu).mean()).backward()
        sgd.step()
        sgd.zero_grad()

    def ordinary_whole_head() -> None:
        tensors = to_tensors(examples, cpu)
        logits = plain(input_ids=tensors.input_ids, use_cache=False).logits.flatten(0, 1)[tensors.rows]
        by_row = F.cross_entropy(logits.float(), tensors.targets, reduction="none")
        (by_row @ tensors.weights.float() / BATCH).backward()
        sgd.step()
        sgd.zero_grad()

    steps = {"private": private, "ordinary": ordinary, "ordinary_whole_head": ordinary_whole_head}
    times = interleaved(steps, ROUNDS)
    adapter.detach()
    against = ratio(times, "private", "ordinary")
    return {
        "ratio_to_nonprivate": against["wall"],
        "private_to_ordinary": against,
        "gathered_head_to_whole_head": ratio(times, "ordinary", "ordinary_whole_head"),
        "median_seconds": medians(times),
    }
