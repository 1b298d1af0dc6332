# SPDX-License-Identifier: Apache-2.0
"""Directions of the input in which public or synthetic records move the weights: an A to start from.

For each module the first eigenvectors of sum G^T G, where G is the gradient of one record's loss at the
frozen weight: of all projections to so many rows, B A keeps most of these gradients' energy (as GEP does with
public gradients, Yu et al. 2021, arXiv 2102.12677, and GaLore with a run's own, arXiv 2403.03507). Private
records have no part in it, so it costs nothing, and every party takes the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedpeft.adapters.singular import singular_vectors
from fedpeft.adapters.targets import find_targets
from fedpeft.data.prompts import Example
from fedpeft.errors import BackboneError
from fedpeft.settings import AdapterSettings
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import example_losses


def gradient_subspaces(
    model: nn.Module,
    settings: AdapterSettings,
    examples: Sequence[Example],
    rank: int | None = None,
    how: Execution = PLAIN,
) -> dict[str, Tensor]:
    """``(r, in)`` float32 with orthonormal rows, by path of each module that ``settings`` name.

    Args:
        model: the frozen backbone, no adapter attached.
        settings: blocks, modules and, by default, the rank.
        examples: of public or synthetic records; at least one.
        rank: rows for each module.
        how: the run's loss.

    Raises:
        BackboneError: packed weights, or a module that no gradient reaches.
    """
    targets = find_targets(model, settings)
    modules = {target.path: model.get_submodule(target.path) for target in targets}
    energies = _energies(model, modules, examples, how)
    found = {}
    for target in targets:
        energy = energies[target.path]
        if not energy.any() or not np.isfinite(energy).all():
            raise BackboneError(f"adapter.modules: no usable gradient reaches {target.path}; leave it out")
        rows = min(rank or settings.rank, target.in_features)
        found[target.path] = singular_vectors(energy, rows)[1]  # symmetric: singular vectors are eigenvectors
    return found


def save_subspaces(path: Path, rows: Mapping[str, Tensor], source: str) -> None:
    """Write what ``adapter.start_file`` names.

    Args:
        path: of the file.
        rows: as :func:`gradient_subspaces` gives them.
        source: what the records are, all of them public; stands in the file.
    """
    tensors = {name: tensor.contiguous() for name, tensor in rows.items()}
    save_file(tensors, path, metadata={"format": "pt", "public": "true", "source": source})


def _energies(
    model: nn.Module, modules: Mapping[str, nn.Module], examples: Sequence[Example], how: Execution
) -> dict[str, np.ndarray]:
    """``(in, in)`` float64, the sum over examples of G^T G."""
    weights: dict[str, Any] = {name: module.weight for name, module in modules.items()}
    for name, weight in weights.items():
        if not weight.is_floating_point():
            raise BackboneError(f"model.quantization: {name} is packed; take unpacked weights for this")
    device = next(iter(weights.values())).device
    energies: dict[str, np.ndarray] = {}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        for example in examples:
            loss = example_losses(model, [example], device, how).sum()
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for (name, module), gradient in zip(modules.items(), gradients, strict=True):
                dense = gradient.double().cpu()
                dense = dense if isinstance(module, nn.Linear) else dense.t()  # Conv1D lies the other way
                square = (dense.t() @ dense).numpy()
                energies[name] = square if name not in energies else energies[name] + square
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    return energies
