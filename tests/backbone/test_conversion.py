# SPDX-License-Identifier: Apache-2.0
"""GGUF files are converted exactly, once, whole or not at all."""

import errno
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from fedpeft.backbone import conversion, loading
from fedpeft.backbone.conversion import convert_once
from fedpeft.backbone.loading import load_backbone
from fedpeft.backbone.registry import sha256_of
from fedpeft.backbone.skeleton import backbone_skeleton
from fedpeft.backbone.sources import Source
from fedpeft.errors import BackboneError
from fedpeft.settings import ModelSettings

IDS = torch.arange(10, 40).view(2, 15)


@pytest.fixture
def source(gguf_file):
    return Source("gguf", str(gguf_file))


def _convert(source):
    return convert_once(source, sha256_of(Path(source.place)), lambda _: Path(source.place))


def _never(*args):
    raise AssertionError("converted again")


def test_a_gguf_file_becomes_the_same_model(gguf_file, quantized):
    settings = ModelSettings(backbone=str(gguf_file), device="cpu")
    backbone = load_backbone(settings)
    assert torch.equal(backbone.model(IDS).logits, quantized.model(IDS).logits)
    text = "The river <|im_end|> rises"
    assert backbone.tokenizer(text)["input_ids"] == quantized.tokenizer(text)["input_ids"]
    assert backbone.tokenizer.chat_template == quantized.tokenizer.chat_template
    assert backbone.name == str(gguf_file)


def test_its_digest_is_that_of_the_converted_folder_loaded_as_a_folder(source):
    converted = _convert(source)
    assert load_backbone(ModelSettings(backbone=str(converted.folder))).digest == converted.digest


def test_a_tokenizer_beside_the_file_is_not_read(gguf_file, quantized):
    (gguf_file.parent / "tokenizer_config.json").write_text('{"chat_template": "another"}')
    backbone = load_backbone(ModelSettings(backbone=str(gguf_file)))
    assert backbone.tokenizer.chat_template == quantized.tokenizer.chat_template


def test_the_second_use_converts_nothing_wherever_the_file_is(source, tmp_path, monkeypatch):
    first = _convert(source)
    monkeypatch.setattr(conversion, "_convert", _never)
    shutil.copy(source.place, tmp_path / "moved.gguf")
    assert _convert(Source("gguf", str(tmp_path / "moved.gguf"))) == first


def test_the_structure_comes_from_the_header_and_then_from_the_conversion(source, monkeypatch):
    settings = ModelSettings(backbone=source.place)
    names = [name for name, _ in backbone_skeleton(settings).named_parameters()]
    converted = _convert(source)
    monkeypatch.setattr(loading, "read_config", lambda place: _read_folder(place, converted))
    assert [name for name, _ in backbone_skeleton(settings).named_parameters()] == names


def _read_folder(place, converted):
    assert place == Source("folder", str(converted.folder))
    return AutoConfig.from_pretrained(place.place)


@pytest.mark.parametrize("damage", ["truncated", "no weights", "no record", "damaged record"])
def test_a_damaged_conversion_is_made_again(source, damage):
    converted = _convert(source)
    weights, record = converted.folder / "model.safetensors", converted.folder / "conversion.json"
    whole = weights.read_bytes()
    match damage:
        case "truncated":
            weights.write_bytes(whole[:-1])
        case "no weights":
            weights.unlink()
        case "no record":
            record.unlink()
        case "damaged record":
            record.write_text('{"digest": "sha')
    assert _convert(source) == converted
    assert weights.read_bytes() == whole
    assert [path.name for path in converted.folder.parent.iterdir()] == [converted.folder.name]


def test_two_at_once_end_with_one_whole_conversion(source):
    sha256, path = sha256_of(Path(source.place)), Path(source.place)
    results = []

    def provide(_):
        # What the other process does while this one is still reading its file.
        results.append(convert_once(source, sha256, lambda _: path))
        return path

    results.append(convert_once(source, sha256, provide))
    assert results[0] == results[1]
    assert [place.name for place in results[0].folder.parent.iterdir()] == [results[0].folder.name]


def test_a_failure_leaves_nothing_behind(tmp_path, cache):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(BackboneError, match="damaged or of an unsupported architecture"):
        _convert(Source("gguf", str(tmp_path / "broken.gguf")))
    assert list((cache / "backbones").iterdir()) == []


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, quantized, write_gguf, cache):
    place = tmp_path / "incomplete.gguf"
    write_gguf(place, quantized, leave_out="blk.1.ffn_up.weight")
    with pytest.raises(BackboneError, match="lack 1 tensors"):
        _convert(Source("gguf", str(place)))
    assert list((cache / "backbones").iterdir()) == []


def test_a_truncated_file_is_refused(gguf_file):
    content = gguf_file.read_bytes()
    gguf_file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BackboneError, match="a GGUF file that is damaged"):
        load_backbone(ModelSettings(backbone=str(gguf_file)))


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left on device (28)")]
)
def test_a_full_disk_says_so(source, monkeypatch, error):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(BackboneError, match=r"no space left to convert model.backbone .*FEDPEFT_CACHE"):
        _convert(source)


def test_a_cache_that_cannot_be_written_says_so(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEDPEFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackboneError, match=r"cannot be written .*; set FEDPEFT_CACHE to a folder that can"):
        _convert(source)
