# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints on disk: a folder and a GGUF file of the same model, and a cache of the test's own."""

import json

import gguf
import numpy as np
import pytest
import torch

from fedpeft.backbone.quiet import quiet
from fedpeft.testing import tiny_backbone, tiny_tokenizer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, request):
    """Slow tests keep the user's own cache, so that the real backbone is fetched once."""
    folder = tmp_path / "cache"
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("FEDPEFT_CACHE", str(folder))
    return folder


@pytest.fixture
def quantized():
    """A tiny Llama whose matrices are exactly what their 8-bit form says."""
    backbone = tiny_backbone("llama", seed=5)
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.from_numpy(_dequantized(parameter.numpy())))
    return backbone


@pytest.fixture
def folder(tmp_path, quantized):
    return _save(tmp_path / "folder", quantized)


@pytest.fixture
def gguf_file(tmp_path, quantized):
    place = tmp_path / "tiny.Q8_0.gguf"
    _write_gguf(place, quantized)
    return place


@pytest.fixture
def write_gguf():
    return _write_gguf


@pytest.fixture
def save():
    """Saves a backbone in a folder, silently."""
    return _save


def _save(place, backbone):
    with quiet():
        backbone.model.save_pretrained(place)
        backbone.tokenizer.save_pretrained(place)
    return place


def _write_gguf(place, backbone, leave_out=""):
    """Write a llama as GGUF, its matrices in 8 bits, but the tensor named ``leave_out``."""
    writer = gguf.GGUFWriter(place, "llama")
    _add_structure(writer, backbone.model.config)
    _add_tokenizer(writer)
    for name, parameter in backbone.model.named_parameters():
        if _gguf_name(name) == leave_out:
            continue
        values = parameter.numpy()
        if "q_proj" in name or "k_proj" in name:
            heads = values.shape[0] // backbone.model.config.head_dim
            values = values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        if values.ndim == 1:
            writer.add_tensor(_gguf_name(name), values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _dequantized(values):
    kind = gguf.GGMLQuantizationType.Q8_0
    return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind).astype(np.float32)


def _gguf_name(name):
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers.": "blk.",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for theirs, ours in names.items():
        name = name.replace(theirs, ours)
    return name


def _add_structure(writer, config):
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer):
    tokenizer = tiny_tokenizer()
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    special = set(tokenizer.all_special_tokens) | {"<|endoftext|>"}
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([3 if token in special else 1 for token, _ in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
