# SPDX-License-Identifier: Apache-2.0
"""Tiny backbones are real, frozen, reproducible and not degenerate."""

import pytest
import torch

from fedpeft.testing import TINY_KINDS, TINY_MIXTURES, tiny_backbone, tiny_tokenizer


def test_tokenizer_encodes_any_text_and_is_the_same_every_time():
    tokenizer = tiny_tokenizer()
    text = "Blutdruck über 140 mmHg, 血圧\t\U0001f642\n"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tiny_tokenizer()(text)["input_ids"] == ids


def test_template_inserts_a_system_prompt_unless_it_is_given_one():
    tokenizer = tiny_tokenizer()
    user = {"role": "user", "content": "Hello"}
    alone = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    given = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be brief."}, user], tokenize=False, add_generation_prompt=True
    )
    assert alone.count("<|im_start|>system") == 1
    assert "very small assistant" in alone
    assert "very small assistant" not in given
    assert alone.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("kind", TINY_KINDS + TINY_MIXTURES)
def test_backbone_is_frozen_reproducible_and_uses_its_context(kind):
    first, again, other = (tiny_backbone(kind, seed=seed) for seed in (3, 3, 4))
    assert not first.model.training
    assert not any(parameter.requires_grad for parameter in first.model.parameters())
    ids = torch.tensor([[5, 60, 200, 7], [6, 60, 200, 7]])
    logits, same, different = (backbone.model(ids).logits for backbone in (first, again, other))
    assert torch.equal(logits, same)
    assert not torch.allclose(logits, different, atol=0.1)
    assert (logits[0, -1] - logits[1, -1]).abs().max() > 0.01  # the first token is seen by the last
    assert (first.digest == again.digest, first.digest == other.digest) == (True, False)


@pytest.mark.parametrize("kind", TINY_KINDS + TINY_MIXTURES)
def test_every_matrix_gets_a_gradient_of_a_useful_size(kind):
    backbone = tiny_backbone(kind)
    backbone.model.requires_grad_(True)
    ids = torch.arange(10, 30)[None]
    backbone.model(ids, labels=ids).loss.backward()
    for name, parameter in backbone.model.named_parameters():
        assert parameter.grad is not None, name
        if parameter.ndim > 1:
            assert 1e-4 < parameter.grad.norm() < 1e3, name


def test_types_of_one_seed_are_the_same_model_and_the_global_random_state_is_untouched():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    single, double = tiny_backbone(), tiny_backbone(dtype=torch.float64)
    assert torch.equal(torch.rand(3), expected)
    for one, two in zip(single.model.parameters(), double.model.parameters(), strict=True):
        assert torch.equal(one.double(), two)


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="kind is 'lama', but must be one of llama"):
        tiny_backbone("lama")


def test_biases_are_not_zero_where_the_architecture_has_them():
    biases = [p for name, p in tiny_backbone("qwen2").model.named_parameters() if name.endswith("proj.bias")]
    assert len(biases) == 6  # query, key and value of two blocks
    assert all(p.abs().max() > 0.05 for p in biases)


@pytest.mark.parametrize(("kind", "tied"), [("gpt2", True), ("gemma", True), ("gpt_neox", False)])
def test_heads_are_tied_where_the_architecture_ties_them(kind, tied):
    model = tiny_backbone(kind).model
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_gemma_scales_its_embeddings_and_centres_its_norms_on_one():
    model = tiny_backbone("gemma").model
    seen = []
    handle = model.model.layers[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    ids = torch.tensor([[5, 60, 200]])
    model(ids)
    handle.remove()
    norm = model.model.norm
    with torch.no_grad():
        torch.testing.assert_close(seen[0], model.get_input_embeddings().weight[ids] * 32**0.5)
        x = torch.randn(1, 32)
        plain = torch.nn.functional.rms_norm(x, (32,), eps=norm.eps)
        torch.testing.assert_close(norm(x), plain * (1 + norm.weight))
