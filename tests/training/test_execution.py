# SPDX-License-Identifier: Apache-2.0
"""Ways to save time and memory: the gradients stay, the memory goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.targets import find_blocks
from fedpeft.config.options import option_names
from fedpeft.settings import AdapterSettings
from fedpeft.testing import TINY_KINDS, dummy_examples, tiny_backbone
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import example_losses, unit_gradients
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.state_store import StateStore

DECODERS = [kind for kind in TINY_KINDS if kind != "mixtral"]
EXAMPLES = dummy_examples([9, 14, 5, 21], 300)


def make_adapter(kind: str = "llama", **settings: object) -> Adapter:
    adapter = Adapter(tiny_backbone(kind, num_blocks=3).model, AdapterSettings(rank=2, **settings))
    adapter.load(0.1 * np.random.default_rng(1).standard_normal(adapter.layout.size).astype(np.float32))
    return adapter


def gradients(adapter: Adapter, how: Execution) -> torch.Tensor:
    (batch,) = plan_batches([(example,) for example in EXAMPLES], 10_000)
    found = unit_gradients(adapter.model, adapter, batch, how)
    return torch.cat([g.flatten(1).double() for g in found], 1)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("cached", [False, True])
def test_checkpointing_gives_the_same_gradients(kind: str, cached: bool) -> None:
    # In float32: what makes test models compute in float64 does not reach the second computation.
    adapter = make_adapter(kind, layers=[1, 2])
    prefix = PrefixCache(adapter.model, 1, StateStore(1 << 28)) if cached else None
    plain, found = gradients(adapter, PLAIN), gradients(adapter, Execution(checkpointing=True, prefix=prefix))
    assert float((found - plain).norm() / plain.norm()) < 1e-5


def test_checkpointing_keeps_less_for_the_backward_pass() -> None:
    adapter = make_adapter()
    kept = {how.checkpointing: _bytes_kept(adapter, how) for how in (PLAIN, Execution(checkpointing=True))}
    assert kept[True] < 0.5 * kept[False]


def test_blocks_have_their_own_forward_again() -> None:
    adapter = make_adapter()
    gradients(adapter, Execution(checkpointing=True))
    assert not any("forward" in vars(block) for block in find_blocks(adapter.model)[1])


@pytest.mark.parametrize("kind", option_names("adapter.kind"))
def test_autocast_rounds_and_no_more(kind: str) -> None:
    settings = AdapterSettings(kind=kind, rank=2)
    adapter = Adapter(tiny_backbone(num_blocks=3).model, settings)
    adapter.load(0.1 * np.random.default_rng(1).standard_normal(adapter.layout.size).astype(np.float32))
    plain, found = gradients(adapter, PLAIN), gradients(adapter, Execution(autocast=torch.bfloat16))
    error = float((found - plain).norm() / plain.norm())
    assert 1e-5 < error < 0.1


def _bytes_kept(adapter: Adapter, how: Execution) -> int:
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with adapter.recording(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        example_losses(adapter.model, EXAMPLES, adapter.device, how)
    return total
