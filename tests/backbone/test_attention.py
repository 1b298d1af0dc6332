# SPDX-License-Identifier: Apache-2.0
"""Which attention runs in half precision on a CPU, and that it computes the same."""

from __future__ import annotations

import pytest
import torch

from fedpeft.backbone import attention
from fedpeft.backbone.attention import suit_attention
from fedpeft.testing import tiny_backbone

CPU = torch.device("cpu")
IDS = torch.arange(1, 25).view(2, 12)


@pytest.mark.parametrize("longest", [5, 24])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gemma"])
def test_short_sequences_run_plainly_and_long_ones_fused(
    kind: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LONGEST_PLAIN", longest)
    model = tiny_backbone(kind, dtype=torch.bfloat16).model
    model.set_attn_implementation("sdpa")
    fused = model(input_ids=IDS).logits
    suit_attention(model, CPU)
    chosen = model(input_ids=IDS).logits
    assert model.config._attn_implementation == ("eager" if longest == 24 else "sdpa")
    assert (chosen - fused).float().norm() < 0.02 * fused.float().norm()


def test_what_was_seen_before_counts_as_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "LONGEST_PLAIN", 5)
    model = tiny_backbone(dtype=torch.bfloat16).model
    model.set_attn_implementation("sdpa")
    suit_attention(model, CPU)
    model(input_ids=IDS[:, :2])
    assert model.config._attn_implementation == "eager"
    model(input_ids=IDS[:, :2], attention_mask=torch.ones(2, 6, dtype=torch.int64))
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("dtype", "kind", "device"),
    [
        (torch.float32, "sdpa", CPU),
        (torch.bfloat16, "eager", CPU),
        (torch.bfloat16, "sdpa", torch.device("cuda")),
    ],
)
def test_everything_else_stays_as_it_is(dtype: torch.dtype, kind: str, device: torch.device) -> None:
    model = tiny_backbone(dtype=dtype).model
    model.set_attn_implementation(kind)
    suit_attention(model, device)
    model(input_ids=IDS)
    assert model.config._attn_implementation == kind
