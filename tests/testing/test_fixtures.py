# SPDX-License-Identifier: Apache-2.0
"""The public pytest plugin gives what it says."""

import torch


def test_plugin_provides_backbone_and_tokenizer(tiny_backbone, tiny_tokenizer):
    ids = tiny_tokenizer("The river", return_tensors="pt")["input_ids"]
    assert tiny_backbone.model(ids).logits.shape == (1, ids.shape[1], len(tiny_tokenizer))


def test_plugin_provides_float64_models(float64_models):
    assert torch.ones(1).float().dtype == torch.float64
