# SPDX-License-Identifier: Apache-2.0
"""What ``[model] backbone`` names: the default, a folder, a GGUF file or a hub id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from fedpeft.backbone.quiet import quiet
from fedpeft.backbone.skeleton import DEFAULT_BACKBONE
from fedpeft.errors import BackboneError
from fedpeft.settings import ModelSettings

MEND = f"give a folder with config.json and weights, a GGUF file, a hub id or {DEFAULT_BACKBONE!r}"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone comes from.

    Attributes:
        kind: which of the four.
        place: the absolute path of a folder or file, or the hub id.
        revision: of a hub id.
    """

    kind: Literal["default", "folder", "gguf", "hub"]
    place: str
    revision: str | None = None


def find_source(settings: ModelSettings) -> Source:
    """Decide what ``settings.backbone`` names; a path that exists wins over a hub id of the same name.

    Raises:
        BackboneError: nothing can be meant by it, or a revision is given for something that has none.
    """
    source = _find(settings)
    if settings.revision is not None and source.kind != "hub":
        raise BackboneError(
            f"model.revision is {settings.revision!r}, but model.backbone {settings.backbone!r} is no hub "
            "id; leave the revision out"
        )
    return source


def _find(settings: ModelSettings) -> Source:
    name = settings.backbone
    if name == DEFAULT_BACKBONE:
        return Source("default", name)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BackboneError(f"model.backbone is {name!r}, a folder without config.json; {MEND}")
        return Source("folder", str(path.resolve()))
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise BackboneError(f"model.backbone is {name!r}, a file that is no .gguf; {MEND}")
        return Source("gguf", str(path.resolve()))
    if path.suffix.lower() == ".gguf" or not _HUB_ID.fullmatch(name):
        raise BackboneError(f"model.backbone is {name!r}, which does not exist; {MEND}")
    return Source("hub", name, settings.revision)


def read_config(source: Source) -> Any:
    """Read the ``transformers`` configuration of a folder, a GGUF file's header or a hub id, without weights.

    Raises:
        BackboneError: it cannot be read, the hub cannot be reached, or the model is no causal language model.
    """
    path = Path(source.place)
    try:
        with quiet():
            if source.kind == "gguf":
                config = AutoConfig.from_pretrained(str(path.parent), gguf_file=path.name)
            elif source.kind == "hub":
                config = AutoConfig.from_pretrained(source.place, revision=source.revision)
            else:
                config = AutoConfig.from_pretrained(source.place, local_files_only=True)
    except Exception as error:  # the libraries raise almost anything for a damaged file
        raise unreadable(source, error) from error
    _check_causal(source, config)
    return config


def unreadable(source: Source, error: Exception) -> BackboneError:
    """Say in one line why a source cannot be loaded."""
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    what = {
        "default": "cannot be loaded from the cache",
        "folder": "a folder that cannot be loaded",
        "gguf": "a GGUF file that is damaged or of an unsupported architecture",
        "hub": "no folder or file here, and not to be had from the hub",
    }[source.kind]
    at = f" at revision {source.revision!r}" if source.revision else ""
    return BackboneError(f"model.backbone is {source.place!r}{at}, {what} ({reason}); {MEND}")


def check_complete(source: Source, info: dict[str, Any]) -> None:
    """Refuse weights that the library would silently fill up with random numbers.

    Args:
        source: named in the error.
        info: the library's own report of what it loaded.

    Raises:
        BackboneError: a tensor is missing.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        raise BackboneError(
            f"model.backbone is {source.place!r}, whose weights lack {len(missing)} tensors ({missing[0]}, "
            "...); give a complete checkpoint of a causal language model"
        )


def _check_causal(source: Source, config: Any) -> None:
    classes: set[str] = set()
    for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        classes.update([names] if isinstance(names, str) else names)
    architectures = list(getattr(config, "architectures", None) or [])
    is_causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if not is_causal or (architectures and classes.isdisjoint(architectures)):
        found = ", ".join(architectures) or config.model_type
        raise BackboneError(
            f"model.backbone is {source.place!r}, a {found}, no causal language model; {MEND}"
        )


def find_device(name: str) -> torch.device:
    """Turn ``[model] device`` into a device of this machine; ``auto`` is a GPU where there is one.

    Raises:
        BackboneError: this machine does not have the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackboneError(
            f"model.device is {name!r}, but this machine has {torch.cuda.device_count()} usable GPUs; "
            "choose auto or cpu"
        )
    return device
