# SPDX-License-Identifier: Apache-2.0
"""Four-bit backbones: refused by name where they cannot be had, exact to themselves where they can."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from fedpeft.adapters.adapter import Adapter
from fedpeft.adapters.frozen import dense_weight
from fedpeft.adapters.peft_format import export_peft
from fedpeft.backbone import quantization
from fedpeft.backbone.base import Backbone
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import option_names
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings, ModelSettings
from fedpeft.testing import dummy_examples, gradient_error, tiny_backbone
from fedpeft.training.probe import probe

KINDS = option_names("adapter.kind")
needs_library = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="the extra `quantized` is not installed"
)


def settings(place: Path, **fields: object) -> ModelSettings:
    return ModelSettings(**({"backbone": str(place), "quantization": "4bit", "device": "cpu"} | fields))


@pytest.fixture
def quantized_llama(tmp_path, save) -> Backbone:
    return saved(tmp_path / "model", save, "llama")


def saved(folder: Path, save, kind: str, **fields: object) -> Backbone:
    save(folder, tiny_backbone(kind, hidden=64))
    return load_backbone(settings(folder, **fields))


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _name: None)


def test_without_the_library_the_extra_is_named(folder: Path, no_library: None) -> None:
    with pytest.raises(BackboneError, match=r'model\.quantization = "4bit".*fedpeft\[quantized\]'):
        load_backbone(settings(folder))


def test_a_gguf_file_is_not_rounded_twice(gguf_file: Path) -> None:
    for place in (gguf_file, ModelSettings().backbone):
        with pytest.raises(BackboneError, match=r'model\.quantization = "4bit".*GGUF.*folder or a hub id'):
            load_backbone(settings(place))


@pytest.mark.parametrize("asked", ["none", "4bit"])
def test_a_checkpoint_that_is_stored_quantized_is_refused(
    folder: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _name: object())
    path = folder / "config.json"
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": stored}))
    with pytest.raises(BackboneError, match=r"model\.backbone.*stored quantized \(bitsandbytes\)"):
        load_backbone(settings(folder, quantization=asked))


def test_a_device_that_the_library_cannot_use_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library raises there, it is about these two keys and not about the backbone."""
    from fedpeft.backbone import loading

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for this device\nmore")

    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.setattr(loading, "loading_options", lambda *_: {})
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", fail)
    message = (
        r'model\.quantization = "4bit".*on cpu \(RuntimeError: no kernel for this device\).*model\.device'
    )
    with pytest.raises(BackboneError, match=message):
        load_backbone(settings(folder))


def test_an_ordinary_weight_is_itself() -> None:
    weight = torch.randn(3, 2)
    assert quantization.unpacked(weight) is weight


@needs_library
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_modules_compute_with_the_dense_weight_in_the_chosen_type(kind, dtype, tmp_path, save) -> None:
    model = saved(tmp_path / "model", save, kind, dtype=dtype).model
    adapter = Adapter(model, AdapterSettings(rank=2))
    original = tiny_backbone(kind, hidden=64).model
    assert model.num_parameters() == sum(p.numel() for p in original.parameters())
    for target, adapted in zip(adapter.targets, adapter.modules, strict=True):
        module, weight = adapted.base, dense_weight(adapted.base).to(getattr(torch, dtype))
        assert module.weight.dtype == torch.uint8
        assert weight.shape == (target.out_features, target.in_features)
        exact = dense_weight(original.get_submodule(target.path)).to(weight.dtype)
        assert 0.01 < float((weight - exact).norm() / exact.norm()) < 0.2  # rounded to 4 bits
        x = torch.randn(2, 5, target.in_features, dtype=weight.dtype)
        expected = torch.nn.functional.linear(x, weight, module.bias)
        for needs_gradient in (True, False, True):  # without gradients the library may choose another way
            out = module(x.clone().requires_grad_(needs_gradient))
            torch.testing.assert_close(out, expected)
            assert out.dtype == weight.dtype


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_kind_trains_and_exports_on_it(kind: str, quantized_llama, tmp_path: Path) -> None:
    model = quantized_llama.model
    adapter = Adapter(model, AdapterSettings(kind=kind, rank=4))
    probe(model, adapter, 64)
    values = adapter.zeros() + 0.05
    assert gradient_error(adapter, values, dummy_examples((9, 14, 5), 300), max_tokens=30) < 1e-4
    adapter.load(values)
    with torch.no_grad():
        expected = model(torch.arange(3, 23).view(2, 10)).logits
        export_peft(adapter, tmp_path / "adapter", "some/backbone")
        adapter.detach()
        assert not torch.allclose(model(torch.arange(3, 23).view(2, 10)).logits, expected, atol=1e-2)
        plain = PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
        torch.testing.assert_close(
            plain(torch.arange(3, 23).view(2, 10)).logits, expected, rtol=1e-4, atol=1e-4
        )
    plain.unload()


@needs_library
def test_quantized_and_plain_are_two_backbones(quantized_llama) -> None:
    plain = load_backbone(ModelSettings(backbone=quantized_llama.name, device="cpu"))
    assert quantized_llama.digest == plain.digest + "+nf4"
    assert quantized_llama.model is not plain.model
    assert load_backbone(settings(quantized_llama.name)) is quantized_llama
    assert not any(p.requires_grad for p in quantized_llama.model.parameters())
    assert not quantized_llama.model.training
