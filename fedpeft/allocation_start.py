# SPDX-License-Identifier: Apache-2.0
"""What the noise allocation starts from: nothing, a file of public statistics, or the run's public rows.

Like the choice of blocks and the warm start it looks at rows that may be looked at; what it gains stands
apart in the result, under ``allocation_start``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.layer_choice import rows_of_run
from fedpeft.privacy.allocation.public import PublicStatistics
from fedpeft.selection.row_gradients import row_gradients
from fedpeft.selection.rows import encode
from fedpeft.workspace import Workspace

MOST_ROWS: Final = 64
"""Rows whose gradients are taken: statistics of segments need no more."""


def allocation_start(workspace: Workspace) -> PublicStatistics | None:
    """What the allocation of the run of ``workspace`` starts from; a function of its configuration and rows.

    Raises:
        DataError: the rows cannot be used.
    """
    config = workspace.config
    rows = rows_of_run(config, workspace.out) if config.selection.allocation_start else None
    if rows is None:
        return workspace.public_start
    order = np.random.default_rng([config.selection.seed, 7]).permutation(len(rows.rows.records))
    chosen = [rows.rows.records[i] for i in order[:MOST_ROWS]]
    facts = rows.rows.facts
    source = f"gradients of {len(chosen)} rows ({facts['source']}, SHA-256 {facts['sha256']})"
    with workspace.lock:
        return statistics_of(workspace.adapter, encode(chosen, workspace.prompter), source)


def statistics_of(adapter: Adapter, rows: Sequence[Example], source: str) -> PublicStatistics:
    """Of the segments of ``adapter`` at an update of zero, by the gradients of ``rows``."""
    gradients: npt.NDArray[np.float32] = row_gradients(adapter, rows)
    return PublicStatistics.of_gradients(adapter.layout, gradients, source)
