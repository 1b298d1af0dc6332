# SPDX-License-Identifier: Apache-2.0
"""The flat vector, the choice of modules, isometry, and the standard export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

from fedpeft.adapters.adapter import Adapter, plan_layout
from fedpeft.adapters.peft_format import export_peft
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing import TINY_KINDS, tiny_backbone


def values_for(adapter: Adapter, seed: int = 1) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_normal(adapter.layout.size).astype(np.float32)


def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(3, 23).view(2, 10)
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_zero_changes_nothing_and_detach_restores(kind: str) -> None:
    model = tiny_backbone(kind).model
    before = logits(model)
    adapter = Adapter(model, AdapterSettings(rank=3))
    torch.testing.assert_close(logits(model), before)
    adapter.load(values_for(adapter))
    assert not torch.allclose(logits(model), before)
    adapter.detach()
    assert torch.equal(logits(model), before)
    assert not any("Ffa" in type(m).__name__ for m in model.modules())


def test_segments_cover_the_vector_without_gaps() -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=3))
    ends = [0] + [s.stop for s in adapter.layout.segments]
    assert [s.start for s in adapter.layout.segments] == ends[:-1]
    assert adapter.layout.size == ends[-1]
    assert {(s.block, s.module) for s in adapter.layout.segments} == {
        (block, module)
        for block in (0, 1)
        for module in (
            "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        )
    }  # fmt: skip


def test_the_plan_needs_no_weights() -> None:
    settings = AdapterSettings(rank=3, layers=[-1])
    backbone = tiny_backbone()
    planned = plan_layout(backbone.model.to("meta"), settings)
    assert planned == Adapter(tiny_backbone().model, settings).layout


def test_both_sides_make_the_same_a_from_the_public_seed() -> None:
    one, two, other = (
        Adapter(tiny_backbone().model, AdapterSettings(rank=4, seed=seed)) for seed in (5, 5, 6)
    )
    for first, second, third in zip(one.modules, two.modules, other.modules, strict=True):
        assert torch.equal(first.factors()[1], second.factors()[1])
        assert not torch.allclose(first.factors()[1], third.factors()[1])


def test_the_map_to_the_update_keeps_norms() -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=4))
    values = values_for(adapter)
    adapter.load(values)
    update = torch.cat([(b @ a).flatten() for b, a in (m.factors() for m in adapter.modules)])
    assert float(update.norm()) == pytest.approx(np.linalg.norm(values), rel=1e-5)
    for module in adapter.modules:
        a = module.factors()[1]
        torch.testing.assert_close(a @ a.t(), torch.eye(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("layers", ["all", [1]])
def test_export_loads_in_plain_peft_with_the_same_logits(kind: str, layers: object, tmp_path: Path) -> None:
    adapter = Adapter(tiny_backbone(kind).model, AdapterSettings(rank=4, layers=layers))
    adapter.load(values_for(adapter))
    expected = logits(adapter.model)
    export_peft(adapter, tmp_path, "some/backbone")
    plain = PeftModel.from_pretrained(tiny_backbone(kind).model, str(tmp_path))
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, logits(tiny_backbone(kind).model))


def test_a_rank_above_a_module_is_padded_in_the_export(tmp_path: Path) -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=48))  # hidden is 32, the MLP inside 64
    adapter.load(values_for(adapter))
    expected = logits(adapter.model)
    export_peft(adapter, tmp_path, "some/backbone")
    plain = PeftModel.from_pretrained(tiny_backbone().model, str(tmp_path))
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [2]}, r"adapter\.layers: \[2\].*0 to 1"),
        ({"modules": ["q_prj"]}, r"adapter\.modules: 'q_prj'.*did you mean 'q_proj'"),
        ({"modules": ["lm_head"]}, r"adapter\.modules: 'lm_head' matches no linear module"),
    ],
)
def test_what_is_not_there_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        Adapter(tiny_backbone().model, AdapterSettings(**settings))


def test_a_vector_of_another_length_is_refused() -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(rank=2))
    with pytest.raises(ValueError, match="adapter vector"):
        adapter.load(np.zeros(3, dtype=np.float32))
