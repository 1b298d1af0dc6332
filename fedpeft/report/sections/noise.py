# SPDX-License-Identifier: Apache-2.0
"""How the allocation shared the noise among the segments of the adapter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from fedpeft.report import words
from fedpeft.report.charts.cells import heat_map
from fedpeft.report.parts import Block, Chart, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.types import JsonDict


def section(run: RunFolder, prefix: str) -> Section:
    """Noise by segment, blocks by modules."""
    return Section(f"{prefix}noise", "Noise by segment", tuple(_blocks(run, prefix)))


def _blocks(run: RunFolder, prefix: str) -> Iterator[Block]:
    segments = run.result.get("noise_by_segment") if run.result else None
    if not segments:
        yield Note("The result says it, once the run is over.")
        return
    relative = relative_noise(segments)
    if not relative:
        yield Note("No round was begun, so nothing was allocated.")
        return
    rule = "" if run.config is None else f' (privacy.allocation = "{run.config.privacy.allocation}")'
    frozen = sum(segment["scale"] is None for segment in segments)
    yield Note(
        "Standard deviation of the noise in one coordinate of each segment, over the root mean square of "
        f"all coordinates, as allocated after the last round{rule}. 1 is the same noise everywhere. Sharing "
        "never changes epsilon."
        + (f" {words.counted(frozen, 'segment')} frozen or not in turn, without any noise." if frozen else "")
    )
    yield _map(segments, relative, prefix)


def relative_noise(segments: Sequence[JsonDict]) -> dict[tuple[int, str], float]:
    """By block and module: b_s over the root mean square of b over all coordinates that are not frozen."""
    live = [segment for segment in segments if segment["scale"] is not None]
    total = math.fsum(segment["size"] for segment in live)
    if not total:
        return {}
    mean = math.fsum(segment["size"] * segment["scale"] ** 2 for segment in live) / total
    parts: defaultdict[tuple[int, str], list[tuple[int, float]]] = defaultdict(list)
    for segment in live:
        parts[segment["block"], segment["module"]].append((segment["size"], segment["scale"] ** 2 / mean))
    return {
        cell: math.sqrt(math.fsum(n * square for n, square in found) / sum(n for n, _ in found))
        for cell, found in parts.items()
    }


def _map(segments: Sequence[JsonDict], relative: dict[tuple[int, str], float], prefix: str) -> Chart:
    blocks = sorted({segment["block"] for segment in segments})
    modules = list(dict.fromkeys(segment["module"] for segment in segments))
    least, most = min(relative, key=relative.__getitem__), max(relative, key=relative.__getitem__)
    flat = math.isclose(relative[least], relative[most], rel_tol=1e-6)
    alt = f"Noise in {words.counted(len(blocks), 'block')} by {words.counted(len(modules), 'module')}: " + (
        "the same in all."
        if flat
        else f"least {relative[least]:.2f} in block {least[0]} {least[1]}, most {relative[most]:.2f} in "
        f"block {most[0]} {most[1]}."
    )
    rows = tuple(
        (str(block), *(f"{relative[block, m]:.3f}" if (block, m) in relative else "-" for m in modules))
        for block in blocks
    )
    behind = Table("Relative noise by block and module", ("block", *modules), rows, folded=True)
    return Chart(
        f"Fuller is noisier, from {relative[least]:.2f} to {relative[most]:.2f}",
        alt,
        heat_map(f"{prefix}noise", relative, blocks, modules),
        behind,
        True,
    )
