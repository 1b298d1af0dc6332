# SPDX-License-Identifier: Apache-2.0
"""The steps that are compared: ours, ours without privacy, peft's, and opacus' three ways.

All of them see the same frozen backbone and examples, take the loss of an example as the mean over its own
response tokens, and compute the head on response rows only (but for ``ordinary_whole_head``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.data.prompts import Example
from fedpeft.privacy.mechanism import PoissonGaussianSum
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing import dummy_examples, tiny_backbone
from fedpeft.training.batches import plan_batches, to_tensors
from fedpeft.training.gradients import example_losses, unit_gradients
from simulations.benchmarks.shared.opacus_peer import OpacusTrainer

RANK, BATCH, TOKENS, LEARNING_RATE = 8, 8, 128, 1e-4

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Task:
    """One frozen backbone and one batch.

    Attributes:
        backbone: its model is never changed: every step has a copy that shares its weights.
        examples: of the batch.
        rank: of the adapter.
    """

    backbone: Backbone
    examples: Sequence[Example]
    rank: int = RANK

    def model(self) -> nn.Module:
        """A copy of the backbone's modules around the same frozen tensors."""
        original = self.backbone.model
        shared: dict[int, Any] = {
            id(tensor): tensor for tensor in (*original.parameters(), *original.buffers())
        }
        return copy.deepcopy(original, shared)


def standard_task(quick: bool, dtype: str = "float32") -> Task:
    """SmolLM2, rank 8, 8 examples of 128 tokens, half of each response; ``quick``: a tiny one in float32."""
    if quick:
        backbone = tiny_backbone()
        return Task(backbone, dummy_examples([16] * 3, len(backbone.tokenizer)), rank=2)
    backbone = load_backbone(ModelSettings.model_validate({"dtype": dtype}))
    return Task(backbone, dummy_examples([TOKENS] * BATCH, 40_000))


def peft_lora(model: nn.Module, rank: int, *, train_a: bool = True) -> nn.Module:
    """``model`` with peft's LoRA on all linear modules; ``train_a=False`` freezes A, as ours does."""
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped: nn.Module = get_peft_model(model, config)  # type: ignore[arg-type]
    for name, parameter in wrapped.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(train_a)
    return wrapped


def private(task: Task, kind: str = "ffa") -> Step:
    """Our whole step: gradients of each example, scaling, clipping, sum, noise, update."""
    model = task.model()
    adapter = Adapter(model, AdapterSettings(kind=kind, rank=task.rank))
    batches = list(plan_batches([(e,) for e in task.examples], sum(e.ids.size for e in task.examples)))
    state = adapter.zeros().astype(np.float64)

    def step() -> None:
        nonlocal state
        adapter.load(state.astype(np.float32))
        mechanism = PoissonGaussianSum(
            adapter.layout,
            scales=(1.0,) * len(adapter.layout.segments),
            clipping="automatic",
            noise_multiplier=1.0,
            sampling_rate=0.1,
            expected_batch=float(len(task.examples)),
            unit="record",
        )
        for batch in batches:
            mechanism.add(unit_gradients(model, adapter, batch))
        released = mechanism.release(Randomness.fresh().stream("noise"))
        state = state - LEARNING_RATE * released.value

    return step


def without_privacy(task: Task) -> Step:
    """Our model, adapter and loss with the batch's gradient of B by ordinary autograd and plain SGD."""
    model = task.model()
    adapter = Adapter(model, AdapterSettings(rank=task.rank))
    trained = [tensor.requires_grad_(True) for module in adapter.modules for tensor in module.trained()]
    return _sgd_step(trained, lambda: example_losses(model, task.examples, task.backbone.device).mean())


def ordinary(task: Task, *, train_a: bool = True) -> Step:
    """Peft's LoRA with plain SGD and the same head on response rows only."""
    wrapped = peft_lora(task.model(), task.rank, train_a=train_a)
    model = wrapped.get_base_model()  # type: ignore[operator]
    return _sgd_step(
        _trainable(wrapped), lambda: example_losses(model, task.examples, task.backbone.device).mean()
    )


def ordinary_whole_head(task: Task) -> Step:
    """Peft's LoRA as most code runs it: logits of every token."""
    wrapped = peft_lora(task.model(), task.rank)

    def loss() -> torch.Tensor:
        tensors = to_tensors(task.examples, task.backbone.device)
        logits = wrapped(input_ids=tensors.input_ids, use_cache=False).logits.flatten(0, 1)[tensors.rows]
        by_row = F.cross_entropy(logits.float(), tensors.targets, reduction="none")
        return by_row @ tensors.weights.float() / len(task.examples)

    return _sgd_step(_trainable(wrapped), loss)


def opacus(task: Task, mode: str, *, train_a: bool = True) -> Step:
    """Opacus on peft's LoRA; ``mode`` is ``hooks``, ``fast`` or ``ghost``."""
    trainer = OpacusTrainer(
        peft_lora(task.model(), task.rank, train_a=train_a),
        mode,
        learning_rate=LEARNING_RATE,
        expected_batch=len(task.examples),
    )
    return lambda: trainer.step(task.examples, task.backbone.device)


STEPS: Mapping[str, Callable[[Task], Step]] = {
    "private": private,
    "without_privacy": without_privacy,
    "ordinary": ordinary,
    "ordinary_b_only": lambda task: ordinary(task, train_a=False),
    "ordinary_whole_head": ordinary_whole_head,
    "opacus_hooks": lambda task: opacus(task, "hooks"),
    "opacus_fast": lambda task: opacus(task, "fast"),
    "opacus_ghost": lambda task: opacus(task, "ghost"),
    "opacus_hooks_b_only": lambda task: opacus(task, "hooks", train_a=False),
    "opacus_fast_b_only": lambda task: opacus(task, "fast", train_a=False),
    "opacus_ghost_b_only": lambda task: opacus(task, "ghost", train_a=False),
}
"""Every step by name, made from a task."""


def _sgd_step(trained: list[torch.Tensor], loss: Callable[[], torch.Tensor]) -> Step:
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE)

    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _trainable(model: nn.Module) -> list[torch.Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
