# SPDX-License-Identifier: Apache-2.0
"""The report of 500 rounds and 100 sites: its size, and seconds until a browser has drawn it.

The run was never trained: its files are written with the right forms and sizes. The bars are 2 s and 5 MB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fedpeft.report import read_run, write_page
from simulations.benchmarks.shared.browser import chromium
from simulations.benchmarks.shared.rows import Row
from simulations.benchmarks.shared.run_folder import write_run, write_selection, write_synthetic

BAR_S, BAR_MB = 2.0, 5.0
_DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def run(quick: bool = False) -> dict[str, Any]:
    """Make the page, open it ten times; ``quick``: a small run, opened twice."""
    sites, rounds, times = (3, 5, 2) if quick else (100, 500, 10)
    with tempfile.TemporaryDirectory() as place:
        folder, page = Path(place) / "run", Path(place) / "page.html"
        write_run(folder, sites=sites, rounds=rounds)
        write_selection(folder)
        write_synthetic(folder, rows=1024)
        started = perf_counter()
        write_page([read_run(folder)], page)
        made = perf_counter() - started
        seconds = _open(page, times)
        size = page.stat().st_size
    return {
        "sites": sites,
        "rounds": rounds,
        "seconds_to_make": made,
        "megabytes": size / 1e6,
        "seconds_to_open": {"median": float(np.median(seconds)), "largest": max(seconds)},
        "times_opened": times,
    }


def _open(page: Path, times: int) -> list[float]:
    """Each time in a new context, so that nothing is kept; the browser itself is warm."""
    seconds = []
    with chromium() as browser:
        for _ in range(times):
            context = browser.new_context(viewport={"width": 1200, "height": 900})
            tab = context.new_page()
            started = perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            tab.evaluate(_DRAWN)
            seconds.append(perf_counter() - started)
            context.close()
    return seconds


def rows(result: Mapping[str, Any]) -> list[Row]:
    """For the table."""
    work = f"report of {result['rounds']} rounds and {result['sites']} sites"
    opened, size = result["seconds_to_open"], result["megabytes"]
    figure = f"{opened['median']:.2f} s (largest of {result['times_opened']}: {opened['largest']:.2f} s)"
    return [
        Row(f"{work}: opened and drawn", "", f"< {BAR_S:g} s", figure, opened["largest"] < BAR_S),
        Row(f"{work}: size", "", f"< {BAR_MB:g} MB", f"{size:.2f} MB", size < BAR_MB),
    ]
