# SPDX-License-Identifier: Apache-2.0
"""Is this installation able to train privately? Versions, devices, and a self-check without noise."""

from __future__ import annotations

import importlib.metadata
from typing import Final

import torch

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.loading import load_backbone
from fedpeft.errors import UserError
from fedpeft.result import versions
from fedpeft.settings import AdapterSettings, DataSettings, ModelSettings
from fedpeft.training.probe import probe
from fedpeft.types import JsonDict

_TESTED: Final = {
    "flwr": "1.41.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "opacus": "1.6.0",
    "dp-accounting": "0.6.0",
}


def examine(model: ModelSettings, adapter: AdapterSettings) -> JsonDict:
    """Look at the installation and let every segment of an adapter train on public dummy text.

    Args:
        model: the backbone to check; a default one is downloaded if absent.
        adapter: which of its modules must train.

    Returns:
        ``healthy``, ``problems``, ``versions``, ``untested`` versions, ``device``, ``segments``.
    """
    report: JsonDict = {
        "versions": versions(),
        "untested": untested_versions(),
        "optional": {name: _version(name) for name in ("ray", "pandas", "sympy", "networkx")},
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "problems": [],
    }
    try:
        backbone = load_backbone(model)
        attached = Adapter(backbone.model, adapter)
        try:
            probe(backbone.model, attached, DataSettings().max_length)
        finally:
            attached.detach()
        report |= {"device": str(backbone.device), "segments": len(attached.layout.segments)}
    except UserError as error:
        report["problems"] = list(error.problems)
    return report | {"healthy": not report["problems"]}


def untested_versions() -> dict[str, str]:
    """Of the libraries that matter most, those that are not the tested ones, with both versions."""
    found = versions()
    return {n: f"{found[n]} (tested: {v})" for n, v in _TESTED.items() if found[n].partition("+")[0] != v}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
