# SPDX-License-Identifier: Apache-2.0
"""Frozen weights in 4 bits: the only place that knows the optional library behind them.

Nothing is imported until a quantized backbone is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

import torch
from torch import Tensor, nn

from fedpeft.backbone.sources import Source
from fedpeft.errors import BackboneError
from fedpeft.settings import ModelSettings

_LIBRARY: Final = "bitsandbytes"
_KEY: Final = 'model.quantization = "4bit"'


def check_quantizable(settings: ModelSettings, source: Source) -> None:
    """Refuse 4 bits where they cannot be had, before anything is loaded.

    Raises:
        BackboneError: a backbone that comes from a GGUF file, or no library.
    """
    if settings.quantization == "none":
        return
    if source.kind in ("default", "gguf"):
        raise BackboneError(
            f"{_KEY}: model.backbone {source.place!r} comes from a GGUF file, whose weights would be "
            "rounded to few bits a second time; leave it out, or give a folder or a hub id"
        )
    if importlib.util.find_spec(_LIBRARY) is None:
        raise BackboneError(
            f"{_KEY}: needs {_LIBRARY}, which is not installed; pip install 'fedpeft[quantized]', or "
            "leave it out"
        )


def check_unquantized(source: Source, config: Any) -> None:
    """Refuse a checkpoint that is stored quantized: its own settings would overrule the run's.

    Raises:
        BackboneError: its configuration says how it is quantized.
    """
    stored = getattr(config, "quantization_config", None)
    if stored:
        method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
        raise BackboneError(
            f"model.backbone is {source.place!r}, stored quantized ({method}); give the checkpoint that it "
            f"was made from, with {_KEY} where memory is short"
        )


def loading_options(settings: ModelSettings, device: torch.device) -> dict[str, Any]:
    """What ``from_pretrained`` needs beyond the type; nothing for ordinary weights.

    nf4 with quantized scales (Dettmers et al., QLoRA, arXiv 2305.14314, section 3): about 4.1 bits a weight.
    Embeddings, norms and the head stay in ``model.dtype``, which is also what products are computed in.
    """
    if settings.quantization == "none":
        return {}
    from transformers import BitsAndBytesConfig

    return {
        "device_map": {"": device},
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
        ),
    }


def unusable(settings: ModelSettings, device: torch.device, error: Exception) -> BackboneError:
    """Say in one line why the library could not quantize on this device."""
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return BackboneError(
        f"{_KEY}: {_LIBRARY} cannot load {settings.backbone!r} on {device} ({reason}); choose another "
        "model.device, or leave it out"
    )


def keep_computing_as_asked(model: nn.Module) -> None:
    """Switch off the library's own repacking of weights on a CPU without gradients.

    It would compute the frozen blocks in bfloat16 whatever ``model.dtype`` says, and leave weights behind
    that the backward pass cannot read.
    """
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def unpacked(weight: Tensor) -> Tensor:
    """The weight that a linear module computes with, ``(out, in)`` where it was kept in 4 bits."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight
    functional = importlib.import_module(f"{_LIBRARY}.functional")
    dense: Tensor = functional.dequantize_4bit(weight.data, state)
    return dense
