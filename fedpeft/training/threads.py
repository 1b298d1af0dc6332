# SPDX-License-Identifier: Apache-2.0
"""How many cores a process computes on."""

from __future__ import annotations

import os

import torch


def use_threads(asked: int | None) -> None:
    """Compute on so many cores from now on.

    Args:
        asked: of the configuration; default: what ``OMP_NUM_THREADS`` says, or else all cores. Two processes
            that each take all cores wait for one another at every product.
    """
    torch.set_num_threads(asked or _of_environment() or os.cpu_count() or 1)


def _of_environment() -> int | None:
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) > 0 else None
