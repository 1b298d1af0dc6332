# SPDX-License-Identifier: Apache-2.0
"""What a backbone is once it is loaded: one frozen model with its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen causal language model; adapters are put around it and never change its weights.

    Attributes:
        model: in evaluation mode, no parameter of it requires a gradient.
        tokenizer: the model's own; it always has a padding token.
        name: as the configuration gave it.
        device: where the weights are.
        digest: of the weights, so that two parties can compare what they loaded: ``sha256:`` and 64
            hexadecimal digits, or ``commit:`` and the revision of a hub id; ``+nf4`` where they were
            quantized after that.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    device: torch.device
    digest: str


def freeze(model: PreTrainedModel) -> PreTrainedModel:
    """Switch off dropout and every gradient of ``model``; returns the same object."""
    model.requires_grad_(False)
    return model.eval()
