# SPDX-License-Identifier: Apache-2.0
"""The modules of a backbone without weights, which is all that planning a run needs.

That of the default backbone is written down here, because building it from its library takes longer to import
than everything else that planning does. A test holds it to the real one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import nn

from fedpeft.settings import ModelSettings

DEFAULT_BACKBONE: Final = "smollm2-135m-instruct"

_VOCABULARY, _HIDDEN, _INNER, _NUM_BLOCKS = 49152, 576, 1536, 30
_KEY_VALUE: Final = 192  # three heads of 64, shared by nine of the queries


def backbone_skeleton(settings: ModelSettings) -> nn.Module:
    """Build the backbone's modules on torch's ``meta`` device.

    Takes no memory and downloads nothing for the default backbone; of a hub id the configuration only.

    Raises:
        BackboneError: the configuration cannot be read or is not of a causal language model.
    """
    if settings.backbone == DEFAULT_BACKBONE and settings.revision is None:
        return _Default()
    from fedpeft.backbone.loading import described_skeleton

    return described_skeleton(settings)


class _Default(nn.Module):
    """SmolLM2-135M: named, shaped and tied as in its library; it cannot run."""

    def __init__(self) -> None:
        super().__init__()
        self.config: Any = SimpleNamespace(num_hidden_layers=_NUM_BLOCKS)
        self.model = _tree(
            embed_tokens=_embedding(),
            layers=nn.ModuleList(_block() for _ in range(_NUM_BLOCKS)),
            norm=_norm(),
        )
        self.lm_head = _linear(_HIDDEN, _VOCABULARY)
        self.lm_head.weight = self.model.embed_tokens.weight  # type: ignore[assignment, union-attr]


def _block() -> nn.Module:
    return _tree(
        self_attn=_tree(
            q_proj=_linear(_HIDDEN, _HIDDEN),
            k_proj=_linear(_HIDDEN, _KEY_VALUE),
            v_proj=_linear(_HIDDEN, _KEY_VALUE),
            o_proj=_linear(_HIDDEN, _HIDDEN),
        ),
        mlp=_tree(
            gate_proj=_linear(_HIDDEN, _INNER),
            up_proj=_linear(_HIDDEN, _INNER),
            down_proj=_linear(_INNER, _HIDDEN),
        ),
        input_layernorm=_norm(),
        post_attention_layernorm=_norm(),
    )


def _linear(in_features: int, out_features: int) -> nn.Linear:
    # Made without weights: initializing them, even on the meta device, takes a second of imports.
    linear = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(linear)
    linear.register_parameter("bias", None)
    linear.in_features, linear.out_features = in_features, out_features
    linear.weight = _weight(out_features, in_features)
    return linear


def _embedding() -> nn.Module:
    embedding = nn.Module()
    embedding.weight = _weight(_VOCABULARY, _HIDDEN)
    return embedding


def _norm() -> nn.Module:
    norm = nn.Module()
    norm.weight = _weight(_HIDDEN)
    return norm


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)


def _tree(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module
