# SPDX-License-Identifier: Apache-2.0
"""Gradients of public or synthetic rows, one by one: what statistics of segments are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.training.batches import plan_batches
from fedpeft.training.execution import PLAIN, Execution
from fedpeft.training.gradients import unit_gradients

_MAX_TOKENS: Final = 2048


def row_gradients(
    adapter: Adapter, rows: Sequence[Example], how: Execution = PLAIN
) -> npt.NDArray[np.float32]:
    """``(n, d)`` at an update of zero, rows in order of length; one that is not finite is left out.

    Args:
        adapter: attached; what it holds afterwards is of no use.
        rows: public or synthetic.
        how: speed and memory.
    """
    adapter.load(adapter.zeros())
    found: list[npt.NDArray[np.float32]] = []
    for batch in plan_batches([(row,) for row in rows], _MAX_TOKENS):
        gradients = unit_gradients(adapter.model, adapter, batch, how)
        whole = np.concatenate([gradient.flatten(1).float().cpu().numpy() for gradient in gradients], axis=1)
        found.append(whole[np.isfinite(whole).all(1)])
    return np.concatenate(found) if found else np.zeros((0, adapter.layout.size), np.float32)
