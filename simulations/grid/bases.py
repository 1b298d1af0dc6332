# SPDX-License-Identifier: Apache-2.0
"""What the cells of Table 1 and Figures 2 to 4 have in common, fixed before any of them is scored.

Few large batches (few steps lose least to noise), the top four blocks, frozen weights in bfloat16 and their
states kept: a cell takes minutes on two cores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parents[1]

DELTA: Final = 1e-5

SPEED: Final = ('model.dtype="bfloat16"', 'training.prefix_cache="memory"')

SST2: Final = str(_HERE / "sst2.toml")
SST2_RUN: Final = (
    *SPEED,
    "adapter.layers=[-4, -3, -2, -1]",
    "adapter.rank=2",
    "training.sampling_rate=0.06",
    "training.learning_rate=1.5",
    'training.loss_tokens="labels"',
    "federation.rounds=8",
)
SST2_STEPS: Final = 8
SST2_TEST: Final = (*SST2_RUN, 'evaluation.path="sst2/sst2_test.jsonl"', "evaluation.records=436")
"""Scored on the test file, which nothing is chosen on."""

SST2_DEVELOPMENT: Final = (*SST2_RUN, "evaluation.records=400")
"""Scored on the development file, on which learning rates and blocks are chosen; it is public here."""

SST2_FILLINGS: Final = {
    "SELECT": (
        'adapter.layers="all"',
        "selection.size=4",
        'selection.data="sst2/sst2_dev.jsonl"',
        "selection.candidates=16",
        "selection.steps=8",
        "selection.seeds=2",
    ),
    "WARM": ('selection.data="sst2/sst2_dev.jsonl"', "selection.warm_start=20", "selection.batch=32"),
}

MEDQUAD: Final = str(_HERE / "medquad.toml")
MEDQUAD_RUN: Final = (
    *SPEED,
    "adapter.layers=[-2, -1]",
    "adapter.rank=2",
    "training.sampling_rate=0.02",
    "federation.rounds=8",
)
MEDQUAD_ROWS: Final = ("dp-lora", "dp-bitfit", "ffa", "fedpeft", "non-private")


def fixed_rates() -> dict[str, float]:
    """The learning rates that ``python -m simulations.table1 fix`` wrote down; 1.5 for rows it did not."""
    path = _HERE / "experiments" / "table1_rates.json"
    rates: dict[str, float] = json.loads(path.read_text("utf-8"))["rates"] if path.is_file() else {}
    return rates
