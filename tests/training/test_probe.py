# SPDX-License-Identifier: Apache-2.0
"""The set-up probe accepts what trains privately and refuses the rest by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing import TINY_KINDS, tiny_backbone
from fedpeft.training.probe import probe


def adapter_for(kind: str = "llama", dtype: torch.dtype = torch.float32) -> Adapter:
    return Adapter(tiny_backbone(kind, dtype=dtype).model, AdapterSettings(rank=2))


@pytest.mark.parametrize("kind", TINY_KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ordinary_backbones_pass_and_stay_untouched(kind: str, dtype: torch.dtype) -> None:
    adapter = adapter_for(kind, dtype)
    probe(adapter.model, adapter)
    assert all(float(t.abs().sum()) == 0 for m in adapter.modules for t in m.trained())


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
        probe(adapter.model, adapter)


def test_a_module_without_gradient_is_named() -> None:
    adapter = adapter_for()
    block = adapter.model.model.layers[1]

    def without_mlp(x: torch.Tensor) -> torch.Tensor:
        return block.mlp.down_proj(x.new_zeros(*x.shape[:-1], 64) + 0 * block.mlp.up_proj(x))

    block.mlp.forward = without_mlp
    with pytest.raises(BackboneError, match=r"layers\.1\.mlp"):
        probe(adapter.model, adapter)


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
        probe(adapter.model, adapter)
