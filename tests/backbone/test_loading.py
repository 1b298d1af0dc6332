# SPDX-License-Identifier: Apache-2.0
"""Backbones are found, frozen, complete, loaded once, and refused in one line where they cannot be used."""

import hashlib
import json
import logging
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertForMaskedLM

from fedpeft.backbone.loading import load_backbone
from fedpeft.backbone.quiet import quiet
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.errors import BackboneError
from fedpeft.settings import ModelSettings
from fedpeft.testing import TINY_KINDS, tiny_backbone

IDS = torch.arange(10, 40).view(2, 15)


def _settings(place, **fields):
    return ModelSettings(backbone=str(place), **fields)


def _structure(model):
    return [(name, tuple(parameter.shape)) for name, parameter in model.named_parameters()]


def test_folder_loads_frozen_with_its_weights_and_their_digest(folder, quantized):
    backbone = load_backbone(_settings(folder))
    assert torch.equal(backbone.model(IDS).logits, quantized.model(IDS).logits)
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    expected = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert backbone.digest == f"sha256:{expected}"
    assert backbone.tokenizer.chat_template == quantized.tokenizer.chat_template
    assert backbone.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_there_is_one_copy_in_a_process_and_another_for_another_type(folder):
    backbone = load_backbone(_settings(folder, device="cpu"))
    assert load_backbone(_settings(f"{folder}/../folder", device="cpu")) is backbone
    half = load_backbone(_settings(folder, device="cpu", dtype="bfloat16"))
    assert half is not backbone
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert half.digest == backbone.digest


def test_several_weight_files_have_one_digest_that_depends_on_each(folder):
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, folder / f"part-{number}.safetensors")
    index = {name: f"part-{position % 2}.safetensors" for position, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()
    parts = [hashlib.sha256((folder / f"part-{n}.safetensors").read_bytes()).hexdigest() for n in range(2)]
    expected = hashlib.sha256("".join(parts).encode()).hexdigest()
    assert load_backbone(_settings(folder)).digest == f"sha256:{expected}"


def test_a_tokenizer_without_padding_pads_with_the_end_of_text(tmp_path, save):
    backbone = tiny_backbone("gpt2")
    backbone.tokenizer.pad_token = None
    save(tmp_path / "gpt2", backbone)
    tokenizer = load_backbone(_settings(tmp_path / "gpt2")).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_skeleton_has_the_structure_and_no_weights(kind, tmp_path, save):
    backbone = tiny_backbone(kind)
    save(tmp_path / kind, backbone)
    skeleton = backbone_skeleton(_settings(tmp_path / kind))
    assert _structure(skeleton) == _structure(backbone.model)
    assert all(parameter.is_meta for parameter in skeleton.parameters())


def test_skeleton_of_the_default_needs_no_download_and_no_cache(cache, monkeypatch):
    monkeypatch.setattr("subprocess.run", None)
    skeleton = backbone_skeleton(ModelSettings())
    assert sum(parameter.numel() for parameter in skeleton.parameters()) == 134_515_008
    assert not cache.exists()


def test_loading_and_converting_write_nothing_and_leave_the_libraries_as_they_were(gguf_file, capfd):
    level = logging.getLogger("transformers").level
    load_backbone(_settings(gguf_file))
    backbone_skeleton(_settings(gguf_file))
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("transformers").level == level


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/no/such/folder", "which does not exist"),
        ("absent.gguf", "which does not exist"),
        ("./absent", "which does not exist"),
        ("{tmp}", "folder without config.json"),
        ("{tmp}/notes.txt", "a file that is no .gguf"),
        ("{tmp}/broken.gguf", "a GGUF file that is damaged"),
    ],
)
def test_what_is_no_backbone_is_named_with_its_mend(name, said, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    settings = _settings(name.format(tmp=tmp_path))
    for function in (load_backbone, backbone_skeleton):
        with pytest.raises(BackboneError) as caught:
            function(settings)
        message = str(caught.value)
        assert message.startswith(f"model.backbone is {settings.backbone!r}")
        assert said in message
        assert "give a folder" in message
        assert "\n" not in message


def test_other_than_causal_models_are_refused(tmp_path):
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with quiet():
        BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    for function in (load_backbone, backbone_skeleton):
        with pytest.raises(BackboneError, match="a BertForMaskedLM, no causal language model"):
            function(_settings(tmp_path / "bert"))


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match="a folder that cannot be loaded"):
        load_backbone(_settings(folder))


def test_missing_tensors_are_refused_and_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lack 1 tensors \(model.layers.1.mlp.up_proj.weight"):
        load_backbone(_settings(folder))


def test_truncated_weights_are_refused(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(BackboneError, match="a folder that cannot be loaded"):
        load_backbone(_settings(folder))


def test_an_unreachable_hub_is_one_line(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("We couldn't connect to the hub\nCheck your internet connection")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(BackboneError) as caught:
        load_backbone(ModelSettings(backbone="some/model", revision="v1"))
    message = str(caught.value)
    assert "'some/model' at revision 'v1', no folder or file here, and not to be had from the hub" in message
    assert "\n" not in message


def test_a_revision_without_a_hub_id_is_refused(folder):
    with pytest.raises(BackboneError, match=r"model.revision is 'v1', but model.backbone"):
        load_backbone(_settings(folder, revision="v1"))


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded():
    with pytest.raises(BackboneError, match=r"model.device is 'cuda:99', but this machine has \d+ usable"):
        load_backbone(_settings("/no/such/folder", device="cuda:99"))


@pytest.mark.slow
def test_the_default_backbone_has_the_shipped_structure_and_speaks_english():
    backbone = load_backbone(ModelSettings(device="cpu"))
    assert _structure(backbone_skeleton(ModelSettings())) == _structure(backbone.model)
    assert backbone.digest.startswith("sha256:")
    ids = backbone.tokenizer("The capital of France is Paris.", return_tensors="pt")["input_ids"]
    assert backbone.model(ids, labels=ids).loss < math.log(50)
    user = [{"role": "user", "content": "Hello"}]
    assert "system" in backbone.tokenizer.apply_chat_template(user, tokenize=False)
