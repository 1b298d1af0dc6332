# SPDX-License-Identifier: Apache-2.0
"""Adapters as folders of the peft library: the only place that knows peft's format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import DataError

_CONFIG_FILE = "adapter_config.json"


def export_peft(adapter: Adapter, folder: Path, backbone: str) -> None:
    """Write what is loaded in ``adapter`` so that ``PeftModel.from_pretrained`` gives the same logits.

    Args:
        adapter: with the vector to export loaded.
        folder: made if absent.
        backbone: name or path of the backbone, for the adapter's own record of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    updates = [module.whole_update() for module in adapter.modules]
    rank = max(a.shape[0] for _, a in updates)
    for target, module, update in zip(adapter.targets, adapter.modules, updates, strict=True):
        b, a = (factor.detach().float().cpu() for factor in update)
        padding = rank - a.shape[0]  # peft wants one rank; rows of zeros change nothing
        key = f"base_model.model.{target.path}"
        tensors[f"{key}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, padding)).contiguous()
        tensors[f"{key}.lora_B.weight"] = torch.nn.functional.pad(b, (0, padding)).contiguous()
        shift = module.shift()
        if shift is not None:
            tensors[f"{key}.lora_B.bias"] = shift.detach().float().cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=backbone,
        r=rank,
        lora_alpha=rank,  # scale 1: the update is B A
        lora_dropout=0.0,
        lora_bias=adapter.modules[0].shift() is not None,
        target_modules=[target.path for target in adapter.targets],
        fan_in_fan_out=isinstance(adapter.modules[0].base, Conv1D),
        inference_mode=True,
    ).save_pretrained(str(folder))


def backbone_of(folder: Path) -> str:
    """The backbone that the adapter in ``folder`` names.

    Raises:
        DataError: no adapter there, or one that names none.
    """
    path = folder / _CONFIG_FILE
    try:
        name = json.loads(path.read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}: is no PEFT adapter with a readable {_CONFIG_FILE}; name a folder that has one"
        ) from error
    if not name:
        raise DataError(f"{folder}: its {_CONFIG_FILE} names no backbone; give --backbone")
    return str(name)


def attach_peft(model: Any, folder: Path) -> Any:
    """Put the adapter in ``folder``, of whatever kind peft knows, on ``model``.

    Returns:
        A ``PeftModel`` around ``model``, which it changes.

    Raises:
        DataError: the adapter does not fit the model.
    """
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise DataError(
            f"{folder}: peft cannot load it on this backbone ({error}); check --backbone"
        ) from error


@contextmanager
def peft_attached(model: Any, folder: Path) -> Iterator[nn.Module]:
    """Within the context ``model`` carries the adapter in ``folder``.

    Raises:
        DataError: the adapter does not fit the model.
    """
    attached = attach_peft(model, folder)
    try:
        yield attached.eval()
    finally:
        attached.unload()
