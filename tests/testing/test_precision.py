# SPDX-License-Identifier: Apache-2.0
"""Float64 models really compute in float64 inside the context, and not outside it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fedpeft.testing import TINY_KINDS, float64_models, tiny_backbone


class _SingleResults(TorchDispatchMode):
    """Collects the kernels that return float32."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.kernels.add(str(func))
        return result


def _loss(backbone, embedded):
    return backbone.model(inputs_embeds=embedded).logits.log_softmax(-1)[0, :, 5].mean()


def _embedded(backbone):
    ids = torch.arange(20, 32)[None]
    return backbone.model.get_input_embeddings()(ids).detach().requires_grad_(True)


def _error_of_finite_difference(backbone):
    """Relative difference between autograd and a fourth-order central difference, in a random direction."""
    embedded = _embedded(backbone)
    direction = torch.randn(embedded.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(_loss(backbone, embedded), embedded)
    exact = (gradient * direction).sum()
    step = 2e-5

    def at(factor):
        with torch.no_grad():
            return _loss(backbone, embedded + factor * step * direction)

    numeric = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    return float((exact - numeric).abs() / exact.abs())


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_no_kernel_returns_float32_forward_or_backward(kind):
    backbone = tiny_backbone(kind, dtype=torch.float64)
    embedded = _embedded(backbone)
    with float64_models(), _SingleResults() as seen:
        _loss(backbone, embedded).backward()
    assert seen.kernels == set()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt_neox"])
def test_without_the_context_models_do_cast_to_float32(kind):
    backbone = tiny_backbone(kind, dtype=torch.float64)
    embedded = _embedded(backbone)
    with _SingleResults() as seen:
        _loss(backbone, embedded).backward()
    assert seen.kernels


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_gradients_are_those_of_the_function(kind):
    backbone = tiny_backbone(kind, dtype=torch.float64)
    with float64_models():
        assert _error_of_finite_difference(backbone) < 1e-8


def test_the_finite_difference_notices_float32_casts():
    assert _error_of_finite_difference(tiny_backbone("llama", dtype=torch.float64)) > 1e-6


def test_one_by_one_and_batched_gradients_agree_to_1e_10():
    backbone = tiny_backbone("qwen2", dtype=torch.float64)
    weight = backbone.model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    ids = torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(0))

    def gradient(rows):
        loss = -backbone.model(ids[rows]).logits.log_softmax(-1)[..., 9].sum()
        return torch.autograd.grad(loss, weight)[0]

    with float64_models():
        alone = sum(gradient([row]) for row in range(4))
        assert (alone - gradient([0, 1, 2, 3])).abs().max() < 1e-10


def test_casts_are_back_after_the_context():
    with float64_models():
        assert torch.ones(1).float().dtype == torch.float64
        assert torch.zeros(1, dtype=torch.float32).dtype == torch.float64
    assert torch.ones(1).float().dtype == torch.float32
