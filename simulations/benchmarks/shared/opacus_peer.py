# SPDX-License-Identifier: Apache-2.0
"""Opacus 1.6 on a peft model, as its own documents use it, with the loss of a whole sequence.

Three ways to clip: ``hooks`` (gradients of each sequence are kept), ``fast`` (kept for their norms alone,
then a second backward pass) and ``ghost`` (norms from activations and output gradients, then a second
backward pass). The loss is summed over the batch, which opacus calls ``loss_reduction="sum"``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
from torch import nn

from fedpeft.data.prompts import Example
from fedpeft.training.gradients import example_losses

MODES = ("hooks", "fast", "ghost")


class OpacusTrainer:
    """A peft model under opacus with plain SGD, clipping to norm 1.

    Attributes:
        model: peft's, with opacus' hooks on its trained modules.
        optimizer: opacus', for ``BatchMemoryManager``.
    """

    def __init__(
        self,
        model: nn.Module,
        mode: str,
        *,
        learning_rate: float,
        expected_batch: int,
        noise_multiplier: float = 1.0,
    ) -> None:
        model.train()  # the hooks are silent otherwise; there is no dropout
        self.model = model
        self._mode = mode
        sgd = torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad], lr=learning_rate / expected_batch
        )
        options: dict[str, Any] = {
            "noise_multiplier": noise_multiplier,
            "max_grad_norm": 1.0,
            "expected_batch_size": expected_batch,
            "loss_reduction": "sum",
        }
        if mode == "hooks":
            self.wrapped: Any = GradSampleModule(model, loss_reduction="sum")
            self.optimizer = DPOptimizer(sgd, **options)
        else:
            self.wrapped = GradSampleModuleFastGradientClipping(
                model, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=mode == "ghost"
            )
            self.optimizer = DPOptimizerFastGradientClipping(sgd, **options)

    def step(self, examples: Sequence[Example], device: torch.device) -> None:
        """Forward, backward and the optimizer's step, which ``BatchMemoryManager`` may hold back."""
        self.backward(examples, device)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, examples: Sequence[Example], device: torch.device) -> None:
        """Up to where the optimizer takes over."""
        losses = example_losses(self.model, examples, device)  # the hooks are on its modules
        with warnings.catch_warnings():
            # Below the lowest trained module no input needs a gradient; torch remarks on it.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            if self._mode == "hooks":
                losses.sum().backward()  # type: ignore[no-untyped-call]
            else:
                DPTensorFastGradientClipping(self.wrapped, self.optimizer, losses, "sum").backward()
