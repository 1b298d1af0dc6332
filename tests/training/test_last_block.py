# SPDX-License-Identifier: Apache-2.0
"""The last block at the positions that are read: the same losses and gradients, of fewer products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing.tiny import TINY_KINDS, tiny_backbone
from fedpeft.training import last_block
from fedpeft.training.batches import UnitBatch, plan_batches, to_tensors
from fedpeft.training.execution import Execution
from fedpeft.training.gradients import example_losses, unit_gradients
from fedpeft.training.last_block import last_block_at
from fedpeft.training.probe import probe

CPU = torch.device("cpu")
KINDS = ("ffa", "lora", "lora-xs", "bias")


def examples(response_lengths: tuple[int, ...] = (1, 1, 3)) -> list[Example]:
    """Of unequal lengths, with few tokens to predict."""
    random = np.random.default_rng(0)
    return [
        Example(random.integers(0, 300, size=9 + 4 * i + n).astype(np.int32), 9 + 4 * i, False)
        for i, n in enumerate(response_lengths)
    ]


def attached(backbone: str, kind: str) -> Adapter:
    made = tiny_backbone(backbone, dtype=torch.float64)
    adapter = Adapter(made.model, AdapterSettings(kind=kind, rank=2))
    adapter.load(np.random.default_rng(1).normal(0, 0.05, adapter.layout.size).astype(np.float32))
    return adapter


def batch_of(rows: list[Example]) -> UnitBatch:
    (batch,) = plan_batches([(row,) for row in rows], 1000)
    return batch


def gradients(adapter: Adapter, batch: UnitBatch) -> list[torch.Tensor]:
    return unit_gradients(adapter.model, adapter, batch, Execution())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", TINY_KINDS)
def test_losses_and_gradients_are_those_of_the_whole_block(
    backbone: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, rows = attached(backbone, kind), examples()
    some = example_losses(adapter.model, rows, CPU), *gradients(adapter, batch_of(rows))
    monkeypatch.setattr(last_block, "_WORTH_IT", 0.0)
    whole = example_losses(adapter.model, rows, CPU), *gradients(adapter, batch_of(rows))
    for one, other in zip(some, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_position_beside_the_one_that_is_read_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what is picked decides what comes out."""
    adapter, rows = attached("llama", "ffa"), examples()
    right = gradients(adapter, batch_of(rows))
    pick = last_block._Places.pick
    monkeypatch.setattr(last_block._Places, "pick", lambda self, x: pick(self, x.roll(1, dims=1)))
    wrong = gradients(adapter, batch_of(rows))
    assert max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(right, wrong, strict=True)) > 0.1


@pytest.mark.parametrize("backbone", TINY_KINDS)
def test_only_what_is_read_is_computed(backbone: str) -> None:
    adapter, rows = attached(backbone, "ffa"), examples((1, 1, 1))
    seen: dict[str, int] = {}
    for target, module in zip(adapter.targets, adapter.modules, strict=True):
        if target.block == len(last_block.find_blocks(adapter.model)[1]) - 1:
            module.base.register_forward_hook(
                lambda _m, inputs, _o, name=target.module: seen.update({name: inputs[0].shape[1]})
            )
    example_losses(adapter.model, rows, CPU)
    assert {length for name, length in seen.items() if name.endswith(("k_proj", "v_proj"))} <= {18}
    assert sum(length == 1 for length in seen.values()) >= len(seen) // 2


def test_modules_are_whole_again_afterwards_and_after_an_error() -> None:
    adapter, rows = attached("llama", "ffa"), examples()
    tensors = to_tensors(rows, CPU)

    def fail() -> None:
        with last_block_at(adapter.model, tensors.rows, tensors.input_ids.shape):
            assert any("forward" in vars(module) for module in adapter.modules)
            raise RuntimeError("meant")

    with pytest.raises(RuntimeError, match="meant"):
        fail()
    assert not any("forward" in vars(module) for module in adapter.model.modules())


def test_nothing_is_picked_where_most_positions_are_read() -> None:
    adapter, rows = attached("llama", "ffa"), [examples((30,))[0]]
    tensors = to_tensors(rows, CPU)
    with last_block_at(adapter.model, tensors.rows, tensors.input_ids.shape):
        assert not any("forward" in vars(module) for module in adapter.modules)


@pytest.mark.parametrize("model_type", sorted(last_block.TYPES))
def test_every_backbone_of_the_list_was_compared(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AutoConfig.for_model(
        model_type, vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    losses = example_losses(model, examples(), CPU)
    with last_block_at(model, torch.tensor([3]), torch.Size([1, 9])):
        assert any("forward" in vars(module) for module in model.modules())
    monkeypatch.setattr(last_block, "_WORTH_IT", 0.0)
    torch.testing.assert_close(losses, example_losses(model, examples(), CPU), rtol=1e-9, atol=1e-12)


def test_an_unknown_backbone_is_computed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = attached("llama", "ffa")
    monkeypatch.setattr(last_block, "TYPES", frozenset())
    with last_block_at(adapter.model, torch.tensor([3]), torch.Size([1, 9])):
        assert not any("forward" in vars(module) for module in adapter.modules)


@pytest.mark.parametrize("name", ["k_proj", "v_proj"])
def test_the_check_before_the_first_step_notices_a_wrong_list(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: keys and values are needed of every token."""
    adapter = attached("llama", "ffa")
    probe(adapter.model, adapter, 30)
    monkeypatch.setattr(last_block, "_AFTER_KEYS", last_block._AFTER_KEYS | {name})
    with pytest.raises(BackboneError, match=r"last block gives other gradients|depends on another example"):
        probe(adapter.model, adapter, 30)
