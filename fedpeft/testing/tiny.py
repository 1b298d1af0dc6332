# SPDX-License-Identifier: Apache-2.0
"""Backbones and a tokenizer small enough to be made in memory for a single test.

They go through the same code as real ones: real ``transformers`` architectures, a byte-level tokenizer
that can encode any text, and a chat template that inserts a default system prompt unless it is given one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from fedpeft.backbone.base import Backbone, freeze

TINY_KINDS = ("llama", "qwen2", "gpt2", "gemma", "gemma2", "gpt_neox")
"""Architectures that :func:`tiny_backbone` makes and of which every linear module can be trained.

``qwen2`` has biases; ``gpt2`` keeps its weights transposed (``Conv1D``) and has learned positions; ``gemma``
scales its norms around one and its embeddings by the root of the width; ``gemma2`` also caps its logits;
``gpt_neox`` has one matrix for query, key and value and an untied head.
"""

TINY_MIXTURES = ("mixtral",)
"""Architectures with mixture experts, whose attention alone can be trained."""

_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_NUM_MERGES = 64
_SENTENCES = [
    "The river rises in the hills and reaches the sea after seven days.",
    "Name the function that sorts a list of numbers in place.",
    "What is the usual treatment of a sprained ankle? Rest, ice and a bandage.",
    "Returns the mean of the given values, or None when there are no values.",
    "The system answers the user, and the assistant explains the answer.",
]
_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a very small assistant.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Make a byte-level tokenizer of 323 tokens, the same one every time.

    It encodes any text without an unknown token. End of text (also the padding) is ``<|im_end|>``, beginning
    is ``<|im_start|>``; neither is added by itself.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(_SPECIAL) + len(alphabet) + _NUM_MERGES,
        special_tokens=_SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator(_SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def tiny_backbone(
    kind: str = "llama",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    *,
    num_blocks: int = 2,
    hidden: int = 32,
) -> Backbone:
    """Make a frozen random causal language model with the tokenizer of :func:`tiny_tokenizer`.

    The weights are drawn in float32 and then converted, so that two types of one seed are the same model.
    Norm weights and biases are moved off one and zero, because a model at its initialization hides mistakes.

    Args:
        kind: one of :data:`TINY_KINDS` or :data:`TINY_MIXTURES`.
        seed: of the weights; the global random state is left alone.
        dtype: of the weights. For float64 throughout, also enter :func:`fedpeft.testing.float64_models`.
        num_blocks: number of transformer blocks.
        hidden: width; a multiple of 16.

    Raises:
        ValueError: the kind is not known.
    """
    known = TINY_KINDS + TINY_MIXTURES
    if kind not in known:
        raise ValueError(f"kind is {kind!r}, but must be one of {', '.join(known)}")
    tokenizer = tiny_tokenizer()
    config = AutoConfig.for_model(kind, **_config_fields(kind, num_blocks, hidden, tokenizer))
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.1 * noise if parameter.ndim == 1 else 0.2 * noise)
    model.tie_weights()
    digest = hashlib.sha256(f"{kind} {seed} {num_blocks} {hidden}".encode()).hexdigest()
    return Backbone(
        freeze(model.to(dtype)), tokenizer, f"tiny-{kind}", torch.device("cpu"), f"sha256:{digest}"
    )


def _config_fields(
    kind: str, num_blocks: int, hidden: int, tokenizer: PreTrainedTokenizerFast
) -> dict[str, Any]:
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind == "gpt2":
        return common | {
            "n_embd": hidden,
            "n_layer": num_blocks,
            "n_head": 4,
            "n_positions": 512,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
    fields = common | {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": num_blocks,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": kind != "gpt_neox",
    }
    if kind == "gpt_neox":
        return fields | {"attention_dropout": 0.0, "hidden_dropout": 0.0}
    fields |= {"num_key_value_heads": 2, "attention_dropout": 0.0}
    if kind == "mixtral":
        return fields | {"num_local_experts": 4, "num_experts_per_tok": 2}
    if kind == "gemma":
        return fields | {"head_dim": hidden // 4}
    if kind == "gemma2":
        # A cap as low as this bends the logits of a tiny model, so that leaving it out shows.
        fields |= {
            "head_dim": hidden // 4,
            "query_pre_attn_scalar": hidden // 4,
            "final_logit_softcapping": 2.0,
        }
    return fields
