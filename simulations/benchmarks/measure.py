# SPDX-License-Identifier: Apache-2.0
"""Interleaved pairs, medians, bootstrap intervals, and what machine it was."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

_RESAMPLES = 10_000


def machine() -> dict[str, object]:
    """Enough to know what a figure is worth."""
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.cuda.is_available(),
    }


def interleaved(steps: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Time each step once a round, in an order that alternates, after one warm-up of each.

    Returns:
        For each name a list of ``wall`` and ``cpu`` seconds, one entry a round.
    """
    names = list(steps)
    for name in names:
        steps[name]()
    times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            wall, cpu = time.perf_counter(), time.process_time()
            steps[name]()
            times[name].append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    return times


def ratio(times: Mapping[str, list[dict[str, float]]], numerator: str, denominator: str) -> dict[str, float]:
    """Median of the pairwise ratios with a 95 % bootstrap interval, for wall and CPU time."""
    out: dict[str, float] = {"pairs": len(times[numerator])}
    for clock in ("wall", "cpu"):
        pairs = np.array(
            [a[clock] / b[clock] for a, b in zip(times[numerator], times[denominator], strict=True)]
        )
        low, high = median_interval(pairs)
        out |= {clock: float(np.median(pairs)), f"{clock}_low": low, f"{clock}_high": high}
    return out


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the median."""
    random = np.random.default_rng(0)
    medians = np.median(random.choice(values, (_RESAMPLES, values.size)), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(low), float(high)


def medians(times: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Median wall seconds by name."""
    return {name: float(np.median([t["wall"] for t in series])) for name, series in times.items()}
