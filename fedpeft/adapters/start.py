# SPDX-License-Identifier: Apache-2.0
"""Where the frozen or first A of an adapter comes from: chance, the weight it is put on, or a public file.

Each way its rows are orthonormal, so that B -> B A keeps the Frobenius norm, and every party that has the
backbone, the public seed and the file makes the same A. ``weight`` takes the first right singular vectors of
W, the directions of the input that W itself amplifies most (as PiSSA does, Meng et al., arXiv 2404.02948,
which starts B there too; here B starts at zero, so that W stays whole). ``file`` takes rows that were made
from the gradients of public or synthetic records (``fedpeft.subspace``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fedpeft.adapters.base import orthonormal_rows
from fedpeft.adapters.frozen import dense_weight, features
from fedpeft.adapters.singular import completed, singular_vectors
from fedpeft.errors import BackboneError, ConfigError
from fedpeft.settings import AdapterSettings

Start = Callable[[nn.Module, int, np.random.Generator], Tensor]
"""From a frozen linear module, a rank and a public stream to ``(rank, in_features)`` float32."""


def starts(settings: AdapterSettings) -> Callable[[str], Start]:
    """The start of a module, by its path.

    Raises:
        ConfigError: the file cannot be read, or is none.
    """
    if settings.start == "file":
        return _Stored(settings.start_file)
    way = from_weight if settings.start == "weight" else from_chance
    return lambda _path: way


def from_chance(base: nn.Module, rank: int, random: np.random.Generator) -> Tensor:
    """Orthonormal rows, uniformly at random."""
    return orthonormal_rows(rank, features(base)[1], random)


def from_weight(base: nn.Module, rank: int, random: np.random.Generator) -> Tensor:
    """The first right singular vectors; where there are too few, rows from ``random`` fill up.

    Raises:
        BackboneError: the weight is not finite.
    """
    try:
        _, rows = singular_vectors(dense_weight(base).numpy(), min(rank, *features(base)))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise BackboneError(
            f'adapter.start = "weight": a frozen weight of shape {features(base)} has no singular vectors '
            f'({error}); use a sound backbone, or "random"'
        ) from error
    return completed(rows, rank, random)


class _Stored:
    """The rows of a file, by path of the module."""

    def __init__(self, path: Path | None) -> None:
        try:
            with safe_open(str(path), "pt") as file:
                said: Mapping[str, str] = file.metadata() or {}
            self._rows: Mapping[str, Tensor] = load_file(str(path))
        except Exception as error:  # the library has errors of its own
            told = f"adapter.start_file = {path}: cannot be read ({error}); make it anew"
            raise ConfigError(told) from error
        if said.get("public") != "true" or not said.get("source"):
            raise ConfigError(
                f"adapter.start_file = {path}: does not say that it was made from public records, and its "
                "rows leave with the adapter; make it with simulations.subspace"
            )

    def __call__(self, path: str) -> Start:
        rows = self._rows.get(path)

        def start(base: nn.Module, rank: int, random: np.random.Generator) -> Tensor:
            if rows is None or rows.dim() != 2 or rows.shape[1] != features(base)[1]:
                raise ConfigError(
                    f"adapter.start_file: has no rows for {path} of this backbone; make it for these blocks"
                )
            kept = rows[:rank].float().contiguous()
            if not torch.allclose(kept @ kept.t(), torch.eye(len(kept)), atol=1e-4):
                told = f"adapter.start_file: its rows for {path} are not orthonormal; make it anew"
                raise ConfigError(told)
            return completed(kept, rank, random)

        return start
