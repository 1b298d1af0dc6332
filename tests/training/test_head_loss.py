# SPDX-License-Identifier: Apache-2.0
"""Losses and gradients at the head, taken a few rows at a time, against plain autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedpeft.testing import tiny_backbone
from fedpeft.training import head_loss
from fedpeft.training.head_loss import ends_with_head, row_losses

IDS = torch.tensor([[5, 9, 2, 40, 7], [8, 3, 3, 60, 0]])
ROWS = torch.tensor([1, 2, 3, 6, 7])
TARGETS = torch.tensor([2, 40, 7, 3, 60])
SLOPES = torch.tensor([0.5, 0.25, 0.25, 1.0, 3.0])


def both(
    model: nn.Module, apart: bool, q: float = 0.0, vocabulary: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Losses, and the gradient of their weighted sum at the embeddings."""
    table = model.get_input_embeddings().weight.requires_grad_(True)  # type: ignore[operator]
    table.grad = None
    losses = row_losses(model, IDS, ROWS, TARGETS, apart, q, vocabulary)
    (losses * SLOPES.to(losses.dtype)).sum().backward()
    table.requires_grad_(False)
    assert table.grad is not None
    return losses.detach(), table.grad


@pytest.fixture(params=[1, 2, 2**22], ids=["row by row", "by twos", "at once"])
def rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(tiny_backbone("qwen2").tokenizer)
    monkeypatch.setattr(head_loss, "_LOGITS_AT_ONCE", request.param * size)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_equal_to_plain_autograd(kind: str) -> None:
    model = tiny_backbone(kind, dtype=torch.float64).model
    untied(model)
    assert ends_with_head(model)
    for ours, plain in zip(both(model, True), both(model, False), strict=True):
        assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("q", [1e-3, 0.5, 1.0])
@pytest.mark.parametrize("apart", [True, False])
def test_the_generalized_loss_equals_its_formula(q: float, apart: bool) -> None:
    model = tiny_backbone("llama", dtype=torch.float64).model
    untied(model)
    ours, gradient = both(model, apart, q)
    table = model.get_input_embeddings().weight.requires_grad_(True)
    table.grad = None
    probabilities = model(input_ids=IDS).logits.flatten(0, 1)[ROWS].softmax(1)
    plain = (1 - probabilities[torch.arange(len(TARGETS)), TARGETS] ** q) / q
    (plain * SLOPES.double()).sum().backward()
    assert torch.allclose(ours, plain.detach(), rtol=1e-10)
    assert torch.allclose(gradient, table.grad, rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("rows_at_once")
@pytest.mark.parametrize("q", [0.0, 0.5])
@pytest.mark.parametrize("apart", [True, False])
def test_a_softmax_over_some_tokens_equals_its_formula(q: float, apart: bool) -> None:
    """Token 40 is not among them: its row has no loss, and the others are what they would be without it."""
    model = tiny_backbone("qwen2", dtype=torch.float64).model
    untied(model)
    some = (60, 2, 7, 3, 11)
    ours, gradient = both(model, apart, q, some)
    table = model.get_input_embeddings().weight.requires_grad_(True)
    table.grad = None
    probabilities = model(input_ids=IDS).logits.flatten(0, 1)[ROWS][:, list(some)].softmax(1)
    chosen = torch.stack([probabilities[0, 1], probabilities[2, 2], probabilities[3, 3], probabilities[4, 0]])
    plain = -chosen.log() if q == 0 else (1 - chosen**q) / q
    (plain * SLOPES[[0, 2, 3, 4]].double()).sum().backward()
    assert ours[1] == 0
    assert torch.allclose(ours[[0, 2, 3, 4]], plain.detach(), rtol=1e-10)
    assert torch.allclose(gradient, table.grad, rtol=1e-9, atol=1e-14)
    everything, _ = both(model, apart, q)
    assert not torch.allclose(ours, everything)  # the control


def test_a_small_q_is_nearly_cross_entropy_and_a_large_one_is_not() -> None:
    model = tiny_backbone("llama", dtype=torch.float64).model
    losses = {q: row_losses(model, IDS, ROWS, TARGETS, True, q) for q in (0.0, 1e-9, 0.7)}
    assert torch.allclose(losses[0.0], losses[1e-9], rtol=1e-6)
    assert not torch.allclose(losses[0.0], losses[0.7], rtol=0.1)


def untied(model: nn.Module) -> None:
    """Give the head weights of its own: the embeddings are trained here to have a gradient to look at."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def test_a_bias_of_the_head_counts() -> None:
    hidden = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(60, 8, dtype=torch.float64), torch.randn(60, dtype=torch.float64)
    targets = TARGETS.clamp(max=59)
    losses = head_loss._HeadLoss.apply(hidden, weight, bias, targets, 0.0)
    plain = F.cross_entropy(hidden @ weight.T + bias, targets, reduction="none")
    assert torch.allclose(losses, plain, rtol=1e-12)
    (found,) = torch.autograd.grad(losses.sum(), hidden)
    (expected,) = torch.autograd.grad(plain.sum(), hidden)
    assert torch.allclose(found, expected, rtol=1e-10)


def test_what_a_backbone_does_after_its_head_is_not_lost() -> None:
    assert not ends_with_head(tiny_backbone("gemma2").model)  # a soft-cap
    scaled = tiny_backbone("llama").model
    scaled.register_forward_hook(_halve_logits)
    assert not ends_with_head(scaled)


def _halve_logits(_module: nn.Module, _inputs: object, output: object) -> object:
    output.logits = output.logits / 2  # type: ignore[attr-defined]
    return output


def test_a_head_that_is_trained_takes_the_ordinary_way() -> None:
    model = tiny_backbone("llama").model
    model.get_output_embeddings().weight.requires_grad_(True)
    assert not ends_with_head(model)


def test_a_row_that_is_no_number_leaves_the_others_alone() -> None:
    hidden = torch.randn(3, 8)
    hidden[1] = float("nan")
    hidden.requires_grad_(True)
    losses = head_loss._HeadLoss.apply(hidden, torch.randn(60, 8), None, TARGETS[:3], 0.0)
    assert losses.isfinite().tolist() == [True, False, True]
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    assert gradient.isfinite().all(1).tolist() == [True, False, True]


def test_half_precision_has_losses_in_float32() -> None:
    model = tiny_backbone("llama", dtype=torch.bfloat16).model
    losses = row_losses(model, IDS, ROWS, TARGETS, ends_with_head(model))
    assert losses.dtype == torch.float32


def test_the_head_itself_never_runs() -> None:
    model = tiny_backbone("llama").model
    assert ends_with_head(model)
    runs: list[object] = []
    handle = model.get_output_embeddings().register_forward_hook(lambda *given: runs.append(given))
    row_losses(model, IDS, ROWS, TARGETS, True)
    assert not runs
    row_losses(model, IDS, ROWS, TARGETS, False)
    assert len(runs) == 1
    handle.remove()
