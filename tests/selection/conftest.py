# SPDX-License-Identifier: Apache-2.0
"""A small regime, rows, and a backbone in which one block alone can learn."""

from __future__ import annotations

import pytest
import torch

from fedpeft.backbone.base import Backbone
from fedpeft.data.prompts import Example
from fedpeft.selection.regime import Regime
from fedpeft.settings import AdapterSettings, FederationSettings
from fedpeft.testing import dummy_examples, tiny_backbone

PLANTED = 2
"""The block of ``planted_backbone`` that can learn."""

PLANTED_ADAPTER = AdapterSettings(rank=2, modules=("gate_proj", "up_proj"))


def small_regime(
    noise: float = 0.02, rounds: int = 4, learning_rate: float = 1.0, **server: object
) -> Regime:
    return Regime(
        noise=(noise,) * rounds,
        learning_rates=(learning_rate,) * rounds,
        local_steps=1,
        clipping="automatic",
        clip_norm=1.0,
        federation=FederationSettings(average_iterates=False, **server),
    )


def rows(count: int, seed: int = 0) -> list[Example]:
    """All of one response, so that a few steps teach it."""
    some = dummy_examples([10] * count, 300, seed)
    answer = dummy_examples([10], 300, 99)[0].ids[5:]
    for row in some:
        row.ids[5:] = answer
    return some


@pytest.fixture
def planted_backbone() -> Backbone:
    """All blocks but one write, when noise wakes them, a lot into dimensions that no token is read from.

    What they write has no gradient while their update is zero, and drowns everything else once it is not.
    """
    backbone = tiny_backbone(num_blocks=4)
    body = backbone.model.model
    with torch.no_grad():
        body.norm.weight[24:] = 0
        for index, block in enumerate(body.layers):
            if index != PLANTED:
                block.mlp.gate_proj.weight.zero_()
                block.mlp.up_proj.weight.zero_()
                block.mlp.down_proj.weight[:24] = 0
                block.mlp.down_proj.weight.mul_(3000)
    return backbone
