# SPDX-License-Identifier: Apache-2.0
"""The experiments behind Table 1 and Figures 2 to 4, as functions of the run that they start from.

What is compared, with which settings and trials, stands here and in the files of ``experiments/`` that call
it, fixed before a cell that is reported runs. Every row of a table has the same unit, epsilon, steps and
data, and the same number of learning rates to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.types import PrivacyEvent

Design = dict[str, Any]

TRIALS: Final = 3
"""Learning rates tried for each row."""

_CLIPPED: Final = (0.5, 1.5, 4.5)
_UNCLIPPED: Final = (0.05, 0.15, 0.5)  # gradients as long as they are

ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "dp-lora": ('method="dp-lora"',),
    "dp-lora-product-svd": ('method="dp-lora"', 'federation.aggregation="product-svd"'),
    "dp-bitfit": ('method="dp-bitfit"',),
    "anadp": ('method="anadp"',),
    "ffa": ('method="plain"',),
    "ffa-weight": ('method="plain"', 'adapter.start="weight"'),
    "lora-xs": ('method="plain"', 'adapter.kind="lora-xs"', "adapter.rank=8"),
    "fedpeft": ('method="fedpeft"',),
    "dp-selft": ('method="dp-selft"', "SELECT"),
    "fedpeft-selft": ('method="fedpeft-selft"', "SELECT"),
    "dp-forward": ('method="dp-forward"',),
    "pooled-dp": ('method="pooled-dp"',),
    "local-only": ('method="local-only"',),
    "non-private": ('method="non-private"',),
    "pooled": ('method="pooled"',),
}
"""Overrides by row. ``SELECT`` stands for where blocks are chosen from, which differs between data sets."""

WITHOUT_CLIPPING: Final = ("dp-forward", "non-private", "pooled")

ABLATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "full": ('method="fedpeft-selft"', "SELECT"),
    "allocation-off": ('method="fedpeft-selft"', "SELECT", 'privacy.allocation="uniform"'),
    "selection-off": ('method="fedpeft"',),
    "random-layers": ('method="fedpeft-selft"', "SELECT", 'selection.selector="random-k"'),
    "warm-start-only": ('method="plain"', "WARM"),
    "lambda1-0": ('method="fedpeft-selft"', "SELECT", "federation.lambda1=0.0"),
    "lambda2-0": ('method="fedpeft-selft"', "SELECT", "privacy.lambda2=0.0"),
}
"""Of the full method, one part taken away at a time."""


def rates_of(row: str) -> tuple[float, ...]:
    """The learning rates to choose from."""
    return _UNCLIPPED if row in WITHOUT_CLIPPING else _CLIPPED


def tuning(
    base: str, common: Sequence[str], fillings: Mapping[str, Sequence[str]], rows: Sequence[str]
) -> Design:
    """``TRIALS`` cells for each row, on public records that no row is reported on, with their own seed."""
    cells = [
        {"name": f"{row}-lr-{rate:g}", "set": [*_filled(ROWS[row], fillings), _rate(rate)]}
        for row in rows
        for rate in rates_of(row)
    ]
    return {
        "title": f"Learning rates, {TRIALS} for each row of Table 1",
        "base": base,
        "set": list(common),
        "seeds": [11],
        "reference": cells[0]["name"],
        "metrics": ["ranking_accuracy", "perplexity"],
        "cells": cells,
    }


def table(
    title: str,
    base: str,
    common: Sequence[str],
    fillings: Mapping[str, Sequence[str]],
    rates: Mapping[str, float],
    *,
    rows: Mapping[str, Sequence[str]],
    reference: str,
    seeds: Sequence[int] = (1, 2, 3),
    minutes: float = 8.0,
) -> Design:
    """A cell for each row and seed, at the learning rates that were fixed beforehand."""
    cells = [
        {"name": row, "set": [*_filled(overrides, fillings), *_rate_of(row, rates)]}
        for row, overrides in rows.items()
    ]
    return {
        "title": title,
        "base": base,
        "set": list(common),
        "seeds": list(seeds),
        "reference": reference,
        "metrics": ["ranking_accuracy", "token_accuracy", "perplexity"],
        "minutes": minutes,
        "cells": cells,
    }


def robustness(
    base: str, common: Sequence[str], levels: Sequence[float] = (0.0, 0.2, 0.4), seeds: Sequence[int] = (1, 2)
) -> Design:
    """Figure 2: label noise by feedback bias."""
    cells = [
        {
            "name": f"noise-{noise:g}-bias-{bias:g}",
            "set": [f"data.partition.label_noise={noise}", f"data.partition.feedback_bias={bias}"],
        }
        for noise in levels
        for bias in levels
    ]
    return _figure("Label noise and feedback bias", base, common, cells, seeds)


def batches(
    base: str,
    common: Sequence[str],
    *,
    multiplier: float | None,
    steps: int,
    delta: float,
    sampling_rates: Sequence[float] = (0.03, 0.06, 0.12),
    learning_rates: Sequence[float] = (0.5, 1.5, 4.5),
    seeds: Sequence[int] = (1, 2),
) -> Design:
    """Figure 3: learning rate by batch size, at one noise multiplier or at one epsilon.

    Args:
        base: as are the others, of every design.
        common: overrides of every cell.
        multiplier: held fixed, so that epsilon follows from the batch alone; ``None``: epsilon is fixed, and
            the noise follows.
        steps: private steps of a run.
        delta: of the run.
        sampling_rates: batches, as shares of the units.
        learning_rates: which must not move epsilon.
        seeds: of each cell.
    """
    cells = []
    for share in sampling_rates:
        asked = []
        if multiplier is not None:
            asked = [f"privacy.epsilon={epsilon_at(multiplier, share, steps, delta)}"]
        cells += [
            {
                "name": f"batch-{share:g}-lr-{rate:g}",
                "set": [f"training.sampling_rate={share}", _rate(rate), *asked],
            }
            for rate in learning_rates
        ]
    held = "epsilon" if multiplier is None else f"noise multiplier {multiplier:g}"
    return _figure(f"Learning rate and batch size at fixed {held}", base, common, cells, seeds)


def epsilon_at(multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """What ``steps`` of that noise cost, rounded up a little so that calibration finds it again."""
    event = PrivacyEvent("poisson-gaussian", multiplier, sampling_rate, steps, "record")
    return round(epsilon_pld([event], delta) + 5e-5, 4)


def axes(
    base: str, common: Sequence[str], axis: Mapping[str, Sequence[str]], seeds: Sequence[int] = (1, 2)
) -> Design:
    """Figure 4: one thing changed at a time.

    Args:
        base: of every cell.
        common: overrides of every cell.
        axis: by the name of a cell, what it changes.
        seeds: of each cell.
    """
    cells = [{"name": name, "set": list(changes)} for name, changes in axis.items()]
    return _figure("Clip, epsilon, sites and heterogeneity", base, common, cells, seeds)


def _figure(
    title: str, base: str, common: Sequence[str], cells: list[dict[str, Any]], seeds: Sequence[int]
) -> Design:
    return {
        "title": title,
        "base": base,
        "set": list(common),
        "seeds": list(seeds),
        "reference": cells[0]["name"],
        "metrics": ["ranking_accuracy", "perplexity"],
        "minutes": 3.0,
        "cells": cells,
    }


def _filled(overrides: Sequence[str], fillings: Mapping[str, Sequence[str]]) -> list[str]:
    return [text for override in overrides for text in fillings.get(override, (override,))]


def _rate(rate: float) -> str:
    return f"training.learning_rate={rate}"


def _rate_of(row: str, rates: Mapping[str, float]) -> list[str]:
    return [_rate(rates[row])] if row in rates else []
