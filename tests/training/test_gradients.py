# SPDX-License-Identifier: Apache-2.0
"""Per-example gradients against single-example autograd, and what must not move them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing import (
    TINY_KINDS,
    all_gradients,
    dummy_examples,
    float64_models,
    gradient_error,
    tiny_backbone,
)
from fedpeft.training import gradients as gradients_module
from fedpeft.training.batches import plan_batches
from fedpeft.training.gradients import unit_gradients


def _adapter(kind: str, dtype: torch.dtype, **settings: object) -> tuple[Adapter, np.ndarray]:
    backbone = tiny_backbone(kind, dtype=dtype)
    adapter = Adapter(backbone.model, AdapterSettings(rank=4, **settings))
    values = 0.1 * np.random.default_rng(1).standard_normal(adapter.layout.size).astype(np.float32)
    return adapter, values


@pytest.mark.parametrize("kind", TINY_KINDS)
@pytest.mark.parametrize("lengths", [(9, 14, 5, 21), (7,), (8, 8, 8)], ids=["ragged", "single", "equal"])
def test_equal_to_a_loop_in_float64(kind: str, lengths: tuple[int, ...]) -> None:
    with float64_models():
        adapter, values = _adapter(kind, torch.float64)
        error = gradient_error(adapter, values, dummy_examples(lengths, 300), max_tokens=30)
    assert error < 1e-10


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_equal_to_a_loop_in_float32(kind: str) -> None:
    adapter, values = _adapter(kind, torch.float32)
    assert gradient_error(adapter, values, dummy_examples((9, 14, 5, 21), 300), 60) < 1e-5


def test_a_batch_mean_loss_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: averaging over the batch's tokens rescales every gradient."""
    original = gradients_module.to_tensors

    def batch_mean(*args: object) -> object:
        tensors = original(*args)
        tensors.weights.fill_(1 / tensors.weights.numel())
        return tensors

    monkeypatch.setattr(gradients_module, "to_tensors", batch_mean)
    adapter, values = _adapter("llama", torch.float32)
    assert gradient_error(adapter, values, dummy_examples((9, 14, 5, 21), 300), 60) > 0.1


def test_only_chosen_layers_and_modules() -> None:
    adapter, values = _adapter("llama", torch.float32, layers=[-1], modules=["q_proj", "down_proj"])
    assert [s.name for s in adapter.layout.segments] == [
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.down_proj",
    ]
    assert gradient_error(adapter, values, dummy_examples((9, 14), 300), 60) < 1e-5


def test_a_unit_is_the_sum_of_its_examples_however_it_is_cut() -> None:
    adapter, values = _adapter("llama", torch.float32)
    a, b, c = dummy_examples((12, 9, 11), 300)
    adapter.load(values)
    whole = all_gradients(adapter, [(a, b, c)], max_tokens=100)
    in_pieces = all_gradients(adapter, [(a, b, c)], max_tokens=12)
    singles = all_gradients(adapter, [(a,), (b,), (c,)], max_tokens=100)
    for one, two, three in zip(whole, in_pieces, singles, strict=True):
        assert one.shape[0] == two.shape[0] == 1
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one[0], three.sum(0), rtol=1e-4, atol=1e-6)


def test_units_of_several_examples_share_a_batch() -> None:
    adapter, values = _adapter("llama", torch.float32)
    a, b, c = dummy_examples((8, 9, 10), 300)
    adapter.load(values)
    grouped = all_gradients(adapter, [(a, b), (c,)], max_tokens=100)
    singles = all_gradients(adapter, [(a,), (b,), (c,)], max_tokens=100)
    for two, three in zip(grouped, singles, strict=True):
        torch.testing.assert_close(two[0], three[0] + three[1], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(two[1], three[2], rtol=1e-4, atol=1e-6)


def test_a_module_called_twice_adds_up() -> None:
    """The sink adds; it does not keep the last call only."""
    adapter, values = _adapter("llama", torch.float32, layers=[0], modules=["o_proj"])
    (module,) = adapter.modules
    adapter.load(values)
    x = torch.randn(2, 5, 32, requires_grad=True)
    weight = torch.randn(2, 5, 32)
    with adapter.recording() as sink:
        ((module(x) + module(2 * x)) * weight).sum().backward()
        twice = sink.take(0)
    with adapter.recording() as sink:
        (module(x) * weight).sum().backward()
        once = sink.take(0)
    assert once is not None
    torch.testing.assert_close(twice, 3 * once)


def test_a_non_finite_example_leaves_its_neighbours_alone() -> None:
    adapter, values = _adapter("llama", torch.float32)
    examples = dummy_examples((10, 10, 10), 300)
    adapter.load(values)
    clean = all_gradients(adapter, [(e,) for e in examples], 100)
    bad_token = int(examples[1].ids[2])
    assert all(bad_token not in examples[i].ids for i in (0, 2))
    embedding = adapter.model.get_input_embeddings()

    def poison(_module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return torch.where((inputs[0] == bad_token)[..., None], torch.nan, output)

    handle = embedding.register_forward_hook(poison)
    poisoned = all_gradients(adapter, [(e,) for e in examples], 100)
    handle.remove()
    for before, after in zip(clean, poisoned, strict=True):
        assert not after[1].isfinite().all()
        torch.testing.assert_close(after[[0, 2]], before[[0, 2]])


def test_a_module_that_sees_no_batch_of_sequences_is_refused() -> None:
    adapter, _ = _adapter("llama", torch.float32)
    with pytest.raises(BackboneError, match=r"adapter\.modules.*batch, tokens, features"):
        adapter.modules[0](torch.zeros(3, 32))


def test_a_tensor_the_loss_does_not_reach_is_named() -> None:
    adapter, _ = _adapter("llama", torch.float32)
    block = adapter.model.model.layers[1]
    block.forward = lambda hidden_states, **_: hidden_states
    (batch,) = plan_batches([(e,) for e in dummy_examples((8,), 300)], 100)
    with pytest.raises(BackboneError, match=r"layers\.1\.self_attn\.q_proj"):
        unit_gradients(adapter.model, adapter, batch)


def test_frozen_weights_get_no_gradient() -> None:
    adapter, values = _adapter("llama", torch.float32)
    adapter.load(values)
    all_gradients(adapter, [(e,) for e in dummy_examples((8, 9), 300)], 100)
    assert all(p.grad is None for p in adapter.model.parameters())
