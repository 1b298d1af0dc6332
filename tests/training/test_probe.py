# SPDX-License-Identifier: Apache-2.0
"""The set-up probe accepts what trains privately and refuses the rest by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing import tiny_backbone
from fedpeft.training import probe as probe_module
from fedpeft.training.execution import Execution
from fedpeft.training.prefix import PrefixCache
from fedpeft.training.probe import probe
from fedpeft.training.state_store import StateStore


def adapter_for(kind: str = "llama") -> Adapter:
    return Adapter(tiny_backbone(kind).model, AdapterSettings(rank=2))


class _BatchMean(nn.Module):
    """Couples examples, as batch normalization does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(0, keepdim=True))


def test_a_backbone_that_couples_examples_is_refused() -> None:
    adapter = adapter_for()
    adapter.model.model.norm = _BatchMean(adapter.model.model.norm)
    with pytest.raises(BackboneError, match="depends on another example"):
        probe(adapter.model, adapter, 64)


def test_a_module_without_gradient_is_named() -> None:
    adapter = adapter_for()
    block = adapter.model.model.layers[1]

    def without_mlp(x: torch.Tensor) -> torch.Tensor:
        return block.mlp.down_proj(x.new_zeros(*x.shape[:-1], 64) + 0 * block.mlp.up_proj(x))

    block.mlp.forward = without_mlp
    with pytest.raises(BackboneError, match=r"layers\.1\.mlp"):
        probe(adapter.model, adapter, 64)


def test_an_adapter_that_moves_no_weight_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silent failure other libraries know: gradients flow, epsilon grows, the model stands still."""
    adapter = adapter_for()
    real_load, first = adapter.load, []

    def load_once(values: np.ndarray) -> None:
        if not first:
            first.append(values)
            real_load(values)

    monkeypatch.setattr(adapter, "load", load_once)
    with pytest.raises(BackboneError, match="does not reach the model"):
        probe(adapter.model, adapter, 64)


class _MeanOverPositions(nn.Module):
    """Looks at padding: a longer neighbour changes the width, and the width changes the mean."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(1, keepdim=True))


def test_a_backbone_that_sees_padding_is_refused() -> None:
    adapter = adapter_for()
    adapter.model.model.norm = _MeanOverPositions(adapter.model.model.norm)
    with pytest.raises(BackboneError, match="depends on another example"):
        probe(adapter.model, adapter, 64)


def test_positions_that_stretch_with_the_batch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamic rotary positions change for every example once one is longer than the original length."""
    config = LlamaConfig(
        vocab_size=323, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    adapter = Adapter(model, AdapterSettings(rank=2))
    probe(model, adapter, 32)
    with pytest.raises(BackboneError, match="max_length"):
        probe(model, adapter, 64)
    monkeypatch.setattr(probe_module, "_check_positions", lambda *_: None)
    with pytest.raises(BackboneError, match="depends on another example"):
        probe(model, adapter, 64)


def test_a_length_beyond_the_positions_is_refused() -> None:
    adapter = adapter_for("gpt2")
    with pytest.raises(BackboneError, match=r"data\.max_length: 513 is above the 512 positions"):
        probe(adapter.model, adapter, 513)


def test_states_that_are_not_the_backbones_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Adapter(tiny_backbone(num_blocks=3).model, AdapterSettings(rank=2, layers=[-1]))
    how = Execution(prefix=PrefixCache(adapter.model, 2, StateStore(1 << 20)))
    probe(adapter.model, adapter, 64, how)
    get = StateStore.get

    def stale(self: StateStore, key: bytes) -> torch.Tensor | None:
        kept = get(self, key)
        return None if kept is None else 1.01 * kept + 0.01

    monkeypatch.setattr(StateStore, "get", stale)
    with pytest.raises(BackboneError, match=r"training\.prefix_cache"):
        probe(adapter.model, adapter, 64, how)


def _scaled_when_padded(factors: list[float], monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """The first example's gradient is off by the next of ``factors`` wherever it has a neighbour."""
    adapter, real, left = adapter_for(), probe_module._gradients, list(factors)

    def gradients(model: nn.Module, adapter: Adapter, examples: list, *how: Execution) -> list[torch.Tensor]:
        found = real(model, adapter, examples, *how)
        if len(examples) == 2:
            factor = left.pop(0)
            found = [torch.cat([factor * g[:1], g[1:]]) for g in found]
        return found

    monkeypatch.setattr(probe_module, "_gradients", gradients)
    return adapter


def test_a_draw_that_rounds_badly_is_cleared_by_two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = _scaled_when_padded([1.0005, 1.0, 1.0], monkeypatch)
    probe(adapter.model, adapter, 64)


@pytest.mark.parametrize("factors", [[1.005], [1.0005, 1.0005], [1.0005, 1.0, 1.0005]])
def test_what_moves_more_or_more_than_once_is_refused(
    factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = _scaled_when_padded(factors, monkeypatch)
    with pytest.raises(BackboneError, match="depends on another example"):
        probe(adapter.model, adapter, 64)
