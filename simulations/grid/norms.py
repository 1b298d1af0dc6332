# SPDX-License-Identifier: Apache-2.0
"""Median norms of public records' gradients by adapter: the clip norms of Table 1's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.backbone.loading import load_backbone
from fedpeft.config import load_config
from fedpeft.data.prompts import Prompter
from fedpeft.selection.row_gradients import row_gradients
from fedpeft.selection.rows import encode, read_rows
from fedpeft.speed import loss_of

RECORDS: Final = 150


def median_norms(
    base: str, common: Sequence[str], public: str, adapters: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """To two digits, at an update of zero, of the run's loss.

    Args:
        base: the run's TOML.
        common: overrides of every row.
        public: file of public records, below the folder of data.
        adapters: overrides by name.

    Raises:
        UserError: data or backbone cannot be used.
    """
    found = {}
    for name, overrides in adapters.items():
        config = load_config(Path(base), [*common, *overrides])
        backbone = load_backbone(config.model)
        path = (config.data.root or Path()) / public
        records = read_rows(path, config.data, None).records
        chosen = np.random.default_rng(0).choice(len(records), min(RECORDS, len(records)), replace=False)
        examples = encode([records[i] for i in sorted(chosen)], Prompter.of(backbone.tokenizer, config.data))
        adapter = Adapter(backbone.model, config.adapter)
        try:
            gradients = row_gradients(adapter, examples, loss_of(config, backbone))
        finally:
            adapter.detach()
        median = float(np.median(np.linalg.norm(gradients.astype(np.float64), axis=1)))
        found[name] = float(f"{median:.2g}")
    return found
