# SPDX-License-Identifier: Apache-2.0
"""Interleaved pairs, medians, bootstrap intervals, and what machine it was."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

_RESAMPLES = 10_000

Times = Mapping[str, Sequence[Mapping[str, float]]]


def machine() -> dict[str, object]:
    """Enough to know what a figure is worth."""
    cuda = torch.cuda.is_available()
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": cuda,
        "gpu": torch.cuda.get_device_name() if cuda else None,
    }


def interleaved(
    steps: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[dict[str, float]]]:
    """Time each step once a round, in an order that alternates.

    Args:
        steps: what to time, by name.
        rounds: how often each.
        warm_up: run each once before, untimed.

    Returns:
        For each name a list of ``wall`` and ``cpu`` seconds, one entry a round.
    """
    names = list(steps)
    for name in names if warm_up else ():
        steps[name]()
    times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            times[name].append(timed(steps[name]))
    return times


def timed(step: Callable[[], object]) -> dict[str, float]:
    """``wall`` and ``cpu`` seconds of one call, with whatever it left to do on a GPU."""
    _settle()
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    _settle()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def ratio(times: Times, numerator: str, denominator: str) -> dict[str, float]:
    """Median of the pairwise ratios with a 95 % bootstrap interval, for wall and CPU time."""
    out: dict[str, float] = {"pairs": len(times[numerator])}
    for clock in ("wall", "cpu"):
        pairs = np.array(
            [a[clock] / b[clock] for a, b in zip(times[numerator], times[denominator], strict=True)]
        )
        median, low, high = median_interval(pairs)
        out |= {clock: median, f"{clock}_low": low, f"{clock}_high": high}
    return out


def median_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The median with its 95 % percentile bootstrap interval."""
    array = np.asarray(values, dtype=np.float64)
    random = np.random.default_rng(0)
    medians = np.median(random.choice(array, (_RESAMPLES, array.size)), axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(array)), float(low), float(high)


def medians(times: Times) -> dict[str, float]:
    """Median wall seconds by name."""
    return {name: float(np.median([t["wall"] for t in series])) for name, series in times.items()}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x by least squares: 1 is proportional, 0 is constant."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
