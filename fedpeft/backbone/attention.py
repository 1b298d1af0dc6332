# SPDX-License-Identifier: Apache-2.0
"""Which attention computes short sequences in half precision on a CPU.

With torch's fused attention a whole step takes 6 to 17 % longer there (`python -m simulations.benchmarks
half_precision`). It never holds the scores of all pairs of tokens at once, which counts for long sequences.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from transformers import PreTrainedModel

LONGEST_PLAIN: Final = 512
"""Tokens of a sequence up to which scores of all pairs are held."""

_FUSED, _PLAIN = "sdpa", "eager"
_HALF: Final = (torch.bfloat16, torch.float16)


def suit_attention(model: PreTrainedModel, device: torch.device) -> None:
    """Let ``model`` choose by length where that pays: in half precision, on a CPU, if it has both kinds."""
    if device.type == "cpu" and model.dtype in _HALF and model.config._attn_implementation == _FUSED:
        model.register_forward_pre_hook(_choose, with_kwargs=True)


def _choose(model: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
    ids, mask = inputs[0] if inputs else named.get("input_ids"), named.get("attention_mask")
    seen = [tensor.shape[-1] for tensor in (ids, mask) if tensor is not None]
    wanted = _PLAIN if seen and max(seen) <= LONGEST_PLAIN else _FUSED
    if model.config._attn_implementation != wanted:
        model.set_attn_implementation(wanted)
