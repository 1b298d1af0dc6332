# SPDX-License-Identifier: Apache-2.0
"""The one piece of autograd: its gradients, and how little it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.per_example import per_example_linear
from fedpeft.adapters.sink import GradientSink
from fedpeft.settings import AdapterSettings
from fedpeft.testing import tiny_backbone

N, TOKENS = 3, 5


def random(*shape: int, grad: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


@pytest.mark.parametrize("with_onto", [True, False])
def test_outputs_and_gradients_are_those_of_ordinary_autograd(with_onto: bool) -> None:
    x, weight, onto = random(N, TOKENS, 4, grad=True), random(6, 4), random(N, TOKENS, 6, grad=True)
    sink = GradientSink()
    out = per_example_linear(x, weight, sink, 7, onto if with_onto else None)
    (out**2).sum().backward()
    per_example, to_x, to_onto = sink.take(7), x.grad, onto.grad
    x.grad = onto.grad = None
    for i in range(N):
        leaf = weight.clone().requires_grad_(True)
        plain = x[i] @ leaf.t() + (onto[i] if with_onto else 0)
        torch.testing.assert_close(out[i], plain)
        (plain**2).sum().backward()
        torch.testing.assert_close(per_example[i], leaf.grad)
    torch.testing.assert_close(to_x, x.grad)
    assert (to_onto is None) == (not with_onto)
    if with_onto:
        torch.testing.assert_close(to_onto, onto.grad)


def test_gradients_are_recorded_where_nothing_before_needs_any() -> None:
    sink = GradientSink()
    per_example_linear(random(N, TOKENS, 4), random(6, 4), sink, 0).sum().backward()
    assert sink.take(0).shape == (N, 6, 4)


def test_nothing_is_recorded_without_a_sink() -> None:
    x, weight = random(N, TOKENS, 4), random(6, 4)
    out = per_example_linear(x, weight, None, 0)
    assert not out.requires_grad
    torch.testing.assert_close(out, x @ weight.t())


@pytest.mark.parametrize(("kind", "numbers_a_token"), [("ffa", 4), ("lora-xs", 4), ("lora", 4 + 32)])
def test_only_the_projection_is_kept_where_the_kind_needs_no_more(kind: str, numbers_a_token: int) -> None:
    """Of the tokens: a module's frozen part keeps nothing, and ``lora`` keeps the input, for A."""
    model = tiny_backbone().model
    adapter = Adapter(model, AdapterSettings(kind=kind, rank=4, layers=[1], modules=["q_proj"]))
    (module,) = adapter.modules
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dim() == 3:
            kept[tensor.data_ptr()] = tensor
        return tensor

    x = torch.randn(N, TOKENS, 32, requires_grad=True)
    with adapter.recording(), saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    assert sum(t.numel() for t in kept.values()) == N * TOKENS * numbers_a_token
