# SPDX-License-Identifier: Apache-2.0
"""The flat vector, the choice of modules, and the map from one to the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpeft.adapters import adapter as adapter_module
from fedpeft.adapters.adapter import Adapter
from fedpeft.config import option_names
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.testing import dummy_examples, gradient_error, tiny_backbone
from fedpeft.training.probe import probe


def values_for(adapter: Adapter, seed: int = 1) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).standard_normal(adapter.layout.size).astype(np.float32)


def update(adapter: Adapter, values: np.ndarray) -> torch.Tensor:
    adapter.load(values)
    return torch.cat([(b @ a).flatten() for b, a in (m.factors() for m in adapter.modules)])


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


def test_both_sides_make_the_same_a_from_the_public_seed() -> None:
    one, two, other = (
        Adapter(tiny_backbone().model, AdapterSettings(rank=4, seed=seed)) for seed in (5, 5, 6)
    )
    for first, second, third in zip(one.modules, two.modules, other.modules, strict=True):
        assert torch.equal(first.factors()[1], second.factors()[1])
        assert not torch.allclose(first.factors()[1], third.factors()[1])


@pytest.mark.parametrize("kind", ["ffa", "lora-xs"])
def test_the_map_to_the_update_is_linear_and_keeps_norms(kind: str) -> None:
    adapter = Adapter(tiny_backbone().model, AdapterSettings(kind=kind, rank=4))
    one, two = values_for(adapter), values_for(adapter, seed=2)
    together = update(adapter, one - 2 * two)
    torch.testing.assert_close(together, update(adapter, one) - 2 * update(adapter, two), atol=1e-5, rtol=0)
    assert float(together.norm()) == pytest.approx(np.linalg.norm(one - 2 * two), rel=1e-5)
    for module in adapter.modules:
        for matrix in module.fixed():
            rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
            torch.testing.assert_close(rows @ rows.t(), torch.eye(4), atol=1e-6, rtol=0)


def test_lora_starts_as_ffa_does_and_is_not_linear() -> None:
    """What its file warns of: the mean of two vectors is not the mean of their updates."""
    lora, ffa = (
        Adapter(tiny_backbone().model, AdapterSettings(kind=kind, rank=4)) for kind in ("lora", "ffa")
    )
    for one, other in zip(lora.modules, ffa.modules, strict=True):
        assert torch.equal(one.factors()[1], other.factors()[1])
    one, two = values_for(lora), values_for(lora, seed=2)
    mean = (update(lora, one) + update(lora, two)) / 2
    assert float((update(lora, (one + two) / 2) - mean).norm() / mean.norm()) > 0.1


def test_another_basis_of_one_module_is_another_digest() -> None:
    """As two equal singular values would give on another machine; the last bits would not."""
    adapter = Adapter(tiny_backbone().model, AdapterSettings(kind="lora-xs", rank=4))
    settled = adapter_module._digest(adapter.layout, adapter.modules)
    assert settled == adapter.digest
    (u, a), rotation = adapter.modules[3].fixed(), torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    u *= 1 + 2e-7
    assert adapter_module._digest(adapter.layout, adapter.modules) == settled
    a[:2] = rotation @ a[:2]
    assert adapter_module._digest(adapter.layout, adapter.modules) != settled


def test_a_weight_without_singular_vectors_is_refused() -> None:
    model = tiny_backbone().model
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[1, 2] = torch.inf
    with pytest.raises(BackboneError, match=r'adapter\.kind = "lora-xs".*\(64, 32\)'):
        Adapter(model, AdapterSettings(kind="lora-xs", rank=2))


@pytest.mark.parametrize("layers", ["all", [0], [1]], ids=str)
def test_experts_are_refused_by_name_in_every_chosen_block(layers: object) -> None:
    model = tiny_backbone("mixtral").model
    with pytest.raises(
        BackboneError, match=r"adapter\.modules: model\.layers\.[01]\.mlp\.experts.*name the mod"
    ):
        Adapter(model, AdapterSettings(layers=layers))
    model.model.layers[0] = tiny_backbone("llama").model.model.layers[0]
    if layers == [0]:  # a dense block below the experts, as some mixtures have
        Adapter(model, AdapterSettings(layers=layers))
    else:
        with pytest.raises(BackboneError, match=r"model\.layers\.1\.mlp\.experts"):
            Adapter(model, AdapterSettings(layers=layers))


@pytest.mark.parametrize("module", ["gate_up_proj", "experts", "gate", "mlp"])
def test_experts_cannot_be_named(module: str) -> None:
    with pytest.raises(BackboneError, match=rf"adapter\.modules: '{module}' matches no linear module"):
        Adapter(tiny_backbone("mixtral").model, AdapterSettings(modules=[module, "q_proj"]))


@pytest.mark.parametrize("kind", option_names("adapter.kind"))
def test_the_attention_of_a_mixture_can_be_trained(kind: str) -> None:
    settings = AdapterSettings(kind=kind, rank=4, modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    adapter = Adapter(tiny_backbone("mixtral").model, settings)
    probe(adapter.model, adapter, 64)
    assert gradient_error(adapter, values_for(adapter), dummy_examples((9, 14, 5), 300), 30) < 1e-4


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
