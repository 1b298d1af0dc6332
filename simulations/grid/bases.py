# SPDX-License-Identifier: Apache-2.0
"""What the cells of Table 1 and Figures 2 to 4 have in common, fixed before any of them is scored.

Few dimensions, the top two blocks or one, the loss between the two labels alone, the frozen blocks' states
kept: a cell takes a minute or two on one core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from simulations.grid.rows import ADAPTERS, LATER, ROWS, steps_for

_HERE: Final = Path(__file__).resolve().parents[1]

DELTA: Final = 1e-5

SPEED: Final = ('training.prefix_cache="memory"',)

SST2: Final = str(_HERE / "sst2.toml")
SST2_STEPS: Final = 12
SST2_RUN: Final = (
    *SPEED,
    "adapter.layers=[-2, -1]",
    "adapter.rank=1",
    'privacy.clipping="flat"',
    "training.sampling_rate=0.05",
    'training.loss_tokens="labels"',
    f"federation.rounds={SST2_STEPS}",
)
SST2_PUBLIC: Final = "sst2/sst2_dev.jsonl"
SST2_TEST: Final = (*SST2_RUN, 'evaluation.path="sst2/sst2_test.jsonl"', "evaluation.records=1821")
"""Scored on the test file, which nothing is chosen on."""

FIGURE_RUN: Final = (*SST2_RUN, "adapter.layers=[-1]")
"""Of Figures 2 to 4: the top block alone, in which a record costs a few positions in place of all."""

FIGURE_TEST: Final = (*SST2_TEST, "adapter.layers=[-1]")
"""Scored as Table 1 is."""

SST2_DEVELOPMENT: Final = SST2_RUN
"""Scored on all of the development file, on which steps and blocks are chosen; it is public here."""

SST2_FILLINGS: Final = {
    "SELECT": (
        "adapter.layers=[-4, -3, -2, -1]",
        'selection.data="sst2/sst2_dev.jsonl"',
        "selection.candidates=11",
        "selection.steps=6",
        "selection.seeds=2",
        "selection.batch=32",
    ),
    "WARM": ('selection.data="sst2/sst2_dev.jsonl"', "selection.warm_start=20", "selection.batch=32"),
}

MEDQUAD: Final = str(_HERE / "medquad-pool.toml")
MEDQUAD_STEPS: Final = 4
MEDQUAD_SITES: Final = {"cdc": 250, "mplus_health_topics": 900, "seniorhealth": 700}
"""Institutes that train, by file, and the units that they declare."""

MEDQUAD_RUN: Final = (
    *SPEED,
    "synthesis={}",
    "sites=[{}]".format(
        ", ".join(
            f'{{name="{name}", path="medquad/{name}.jsonl", declared_units={units}}}'
            for name, units in MEDQUAD_SITES.items()
        )
    ),
    "adapter.layers=[-2, -1]",
    "adapter.rank=1",
    'privacy.clipping="flat"',
    "training.sampling_rate=0.05",
    f"federation.rounds={MEDQUAD_STEPS}",
    "evaluation.records=60",
)
MEDQUAD_PUBLIC: Final = "medquad/cancergov.jsonl"
MEDQUAD_DEVELOPMENT: Final = (*MEDQUAD_RUN, f'evaluation.path="{MEDQUAD_PUBLIC}"')
MEDQUAD_ROWS: Final = ("dp-lora", "dp-bitfit", "ffa-weight", "fedpeft", "non-private")
MEDQUAD_LATER: Final = ("dp-bitfit-finer", "fedpeft-stream")
MEDQUAD_BESIDE: Final = ("dp-bitfit", "fedpeft", *MEDQUAD_LATER)
"""The rows that came later, and those that they come after."""

DOCSTRINGS: Final = str(_HERE / "quickstart.toml")
DOCSTRINGS_RUN: Final = (
    *SPEED,
    "adapter.layers=[-2, -1]",
    "adapter.rank=1",
    'privacy.clipping="flat"',
    "training.sampling_rate=0.01",
    "federation.rounds=3",
    "evaluation.records=120",
)

NORMS_FILE: Final = "table1_norms.json"
STEPS_FILE: Final = "table1_steps.json"


def norms_of(data: str) -> Mapping[str, float]:
    """What ``python -m simulations.table1 norms`` wrote down for ``sst2`` or ``medquad``; else 1 for each."""
    return _written(NORMS_FILE).get(data) or dict.fromkeys(ADAPTERS, 1.0)


def steps_of(data: str) -> Mapping[str, float]:
    """What ``python -m simulations.table1 fix`` wrote down; the middle one for rows that it did not.

    Args:
        data: ``sst2``, ``medquad``, or one of them with ``_later``: of the rows of ``LATER`` as well.
    """
    first = data.removesuffix("_later")
    rows, written = (ROWS if first == data else {**ROWS, **LATER}), _written(STEPS_FILE)
    return {row: steps_for(row)[1] for row in rows} | written.get(first, {}) | written.get(data, {})


def _written(name: str) -> dict[str, dict[str, float]]:
    path = _HERE / "experiments" / name
    found: dict[str, dict[str, float]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found
