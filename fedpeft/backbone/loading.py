# SPDX-License-Identifier: Apache-2.0
"""From ``[model]`` to a frozen model with its tokenizer, or to its bare structure."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from fedpeft.backbone.attention import suit_attention
from fedpeft.backbone.base import Backbone, freeze
from fedpeft.backbone.conversion import Converted, convert_once, find_conversion, weights_digest
from fedpeft.backbone.quantization import (
    check_quantizable,
    check_unquantized,
    keep_computing_as_asked,
    loading_options,
    unusable,
)
from fedpeft.backbone.quiet import quiet
from fedpeft.backbone.registry import GGUF_SHA256, fetch_default, sha256_of
from fedpeft.backbone.sources import Source, check_complete, find_device, find_source, read_config, unreadable
from fedpeft.settings import ModelSettings

_loaded: dict[tuple[Source, str, str, torch.device], Backbone] = {}
_lock = threading.Lock()


def load_backbone(settings: ModelSettings, *, shared: bool = True) -> Backbone:
    """Load the frozen backbone, once in a process.

    The same settings give the same object again, whatever the number of sites that ask for it: there is
    one copy of the weights. Whoever attaches something to the model must take it off again.

    A GGUF file and the default are converted at their first use, which takes up to a minute and several
    times the file's size in the cache; afterwards, as with any folder of safetensors, the weights are
    memory-mapped.

    Args:
        settings: of the run.
        shared: otherwise a copy of the weights is loaded that is the caller's own to change.

    Raises:
        BackboneError: the backbone does not exist, is damaged, incomplete or no causal language model, the
            registry or hub cannot be reached, this machine does not have the device, or quantization is asked
            for and cannot be had.
    """
    device = find_device(settings.device)
    source = find_source(settings)
    check_quantizable(settings, source)
    key = (source, settings.dtype, settings.quantization, device)
    if not shared:
        return _load(source, settings, device)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(source, settings, device)
        return _loaded[key]


def described_skeleton(settings: ModelSettings) -> nn.Module:
    """The modules that a backbone's configuration describes, on the ``meta`` device.

    Raises:
        BackboneError: the configuration cannot be read or is not of a causal language model.
    """
    config = _structure(find_source(settings))
    try:
        with quiet(), torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a configuration may be valid JSON and still describe no model
        raise unreadable(find_source(settings), error) from error
    return model


def _structure(source: Source) -> Any:
    if source.kind == "gguf":
        # The header of a GGUF file holds the whole tokenizer and takes seconds to read.
        converted = find_conversion(_hash(source))
        if converted is not None:
            return read_config(Source("folder", str(converted.folder)))
    return read_config(source)


def _load(source: Source, settings: ModelSettings, device: torch.device) -> Backbone:
    converted = _converted(source)
    place = source if converted is None else Source("folder", str(converted.folder))
    config = read_config(place)
    check_unquantized(place, config)
    try:
        with quiet():
            model, info = AutoModelForCausalLM.from_pretrained(
                place.place,
                config=config,
                revision=place.revision or "main",
                dtype=getattr(torch, settings.dtype),
                local_files_only=place.kind == "folder",
                output_loading_info=True,
                **loading_options(settings, device),
            )
            tokenizer = AutoTokenizer.from_pretrained(
                place.place, revision=place.revision or "main", local_files_only=place.kind == "folder"
            )
    except Exception as error:  # the libraries raise almost anything for a damaged file
        if settings.quantization != "none":
            raise unusable(settings, device, error) from error
        raise unreadable(source, error) from error
    check_complete(source, info)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    digest = converted.digest if converted else _digest(place, config)
    if settings.quantization == "none":
        model = model.to(device)
    else:
        digest += "+nf4"
        keep_computing_as_asked(model)
    suit_attention(model, device)
    return Backbone(freeze(model), tokenizer, settings.backbone, device, digest)


def _converted(source: Source) -> Converted | None:
    if source.kind == "default":
        return convert_once(source, GGUF_SHA256, fetch_default)
    if source.kind == "gguf":
        return convert_once(source, _hash(source), lambda scratch: _link(Path(source.place), scratch))
    return None


def _hash(source: Source) -> str:
    try:
        return sha256_of(Path(source.place))
    except OSError as error:
        raise unreadable(source, error) from error


def _link(gguf: Path, folder: Path) -> Path:
    link = folder / "backbone.gguf"
    link.symlink_to(gguf)
    return link


def _digest(place: Source, config: Any) -> str:
    if place.kind == "folder":
        return weights_digest(Path(place.place))
    return f"commit:{config._commit_hash}"
