# SPDX-License-Identifier: Apache-2.0
"""The experiments behind Table 1 and Figures 2 to 4, as functions of the run that they start from.

What is compared, with which settings and trials, stands here and in the files of ``experiments/`` that call
it, fixed before a cell that is reported runs. Every row of a table has the same unit, epsilon, steps and
data, and the same number of steps to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.types import PrivacyEvent
from simulations.grid.rows import ADAPTERS, STEPS, TRIALS, System, steps_for, system_of

Design = dict[str, Any]


def tuning(
    base: str,
    common: Sequence[str],
    fillings: Mapping[str, Sequence[str]],
    norms: Mapping[str, float],
    rows: Sequence[str],
) -> Design:
    """``TRIALS`` cells for each row, on public records that no row is reported on, with their own seed."""
    cells = [
        {"name": f"{row}-step-{step:g}", "set": overrides_of(system_of(row), fillings, norms, step)}
        for row in rows
        for step in steps_for(row)
    ]
    return {
        "title": f"Lengths of a step, {TRIALS} for each row of Table 1",
        "base": base,
        "set": list(common),
        "seeds": [11],
        "reference": cells[0]["name"],
        "metrics": ["ranking_accuracy", "perplexity"],
        "minutes": 8.0,
        "cells": cells,
    }


def table(
    title: str,
    base: str,
    common: Sequence[str],
    fillings: Mapping[str, Sequence[str]],
    norms: Mapping[str, float],
    steps: Mapping[str, float],
    *,
    rows: Mapping[str, System],
    reference: str,
    seeds: Sequence[int] = (1, 2, 3),
    minutes: float = 8.0,
) -> Design:
    """A cell for each row and seed, at the step that was fixed beforehand.

    Args:
        title: over the table.
        base: the run's TOML.
        common: overrides of every cell.
        fillings: of ``SELECT`` and ``WARM``.
        norms: by adapter.
        steps: by row.
        rows: by name.
        reference: the row that others are compared with.
        seeds: each row is run with.
        minutes: a cell may take.
    """
    cells = [
        {"name": row, "set": overrides_of(system, fillings, norms, steps[row])}
        for row, system in rows.items()
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


def overrides_of(
    system: System, fillings: Mapping[str, Sequence[str]], norms: Mapping[str, float], step: float
) -> list[str]:
    """All that tells a row from the others."""
    filled = [text for override in system.overrides for text in fillings.get(override, (override,))]
    return [*ADAPTERS[system.adapter], *filled, *clip_and_step(norms[system.adapter], step)]


def clip_and_step(clip_norm: float, step: float) -> list[str]:
    """A step of that length for gradients of that size."""
    return [f"privacy.clip_norm={clip_norm}", f"training.learning_rate={step / clip_norm**2:.6g}"]


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
    clip_norm: float,
    sampling_rates: Sequence[float] = (0.0125, 0.025, 0.05),
    lengths: Sequence[float] = STEPS,
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
        clip_norm: of the run's adapter.
        sampling_rates: batches, as shares of the units.
        lengths: of a step; the learning rate, which must not move epsilon, follows from them.
        seeds: of each cell.
    """
    cells = []
    for share in sampling_rates:
        asked = []
        if multiplier is not None:
            asked = [f"privacy.epsilon={epsilon_at(multiplier, share, steps, delta)}"]
        cells += [
            {
                "name": f"batch-{share:g}-step-{length:g}",
                "set": [f"training.sampling_rate={share}", *clip_and_step(clip_norm, length), *asked],
            }
            for length in lengths
        ]
    held = "epsilon" if multiplier is None else f"noise multiplier {multiplier:g}"
    return _figure(f"Step and batch size at fixed {held}", base, common, cells, seeds)


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
