# SPDX-License-Identifier: Apache-2.0
"""The committed table, from the result files: ``python -m simulations.benchmarks table``."""

from __future__ import annotations

import importlib
import json
import pkgutil
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

from simulations import benchmarks
from simulations.benchmarks.shared.rows import Row

_HERE = Path(__file__).resolve().parents[1]
_RESULTS = _HERE.parent / "results"
TABLE_FILE = _HERE / "README.md"

_HEAD = """# Benchmarks

Written by `python -m simulations.benchmarks table` from the files in [`results`](../results); do not edit
it. `python -m simulations.benchmarks NAME --save` measures one again, `--quick` only tries whether it runs.
Times are of interleaved pairs: the median ratio with a 95 % bootstrap interval over pairs, CPU time (all
cores) beside wall time. Memory is the peak sum of PSS over all processes. The GPU column is filled by
whoever has one: [`gpu.sh`](gpu.sh).
"""
_COLUMNS = "| measure | against | bar | CPU | verdict | GPU | benchmark |\n|---|---|--:|---|---|---|---|\n"


def names() -> list[str]:
    """All benchmarks."""
    found = pkgutil.iter_modules(benchmarks.__path__)
    return sorted(m.name for m in found if not m.ispkg and not m.name.startswith("_"))


def result_path(name: str, *, gpu: bool) -> Path:
    """Where a benchmark's result is kept."""
    return _RESULTS / ("gpu" if gpu else "") / f"{name}.json"


def write_table() -> None:
    """Write the table and, below it, what each benchmark has to say."""
    lines, sections, machines = [], [], []
    for name in names():
        module = importlib.import_module(f"simulations.benchmarks.{name}")
        result, gpu = (_read(result_path(name, gpu=on_gpu)) for on_gpu in (False, True))
        lines += _lines(name, module, result, gpu)
        sections.append(_section(name, module, result))
        machines += [found["machine"] for found in (result, gpu) if found]
    text = (
        _HEAD + "\n" + _machines(machines) + "\n" + _COLUMNS + "\n".join(lines) + "\n\n" + "\n".join(sections)
    )
    TABLE_FILE.write_text(text.rstrip() + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _lines(
    name: str, module: ModuleType, result: dict[str, Any] | None, gpu: dict[str, Any] | None
) -> list[str]:
    link = f"[`{name}`](#{name})"
    rows = _rows(module, result)
    if rows is None:
        return [f"| {name} | | | not measured yet | | | {link} |"]
    on_gpu = _rows(module, gpu) or []
    return [
        f"| {row.measure} | {row.against} | {row.bar} | {row.figure} | {row.verdict} "
        f"| {other.figure if other else ''} | {link} |"
        for row, other in zip_longest(rows, on_gpu)
        if row
    ]


def _rows(module: ModuleType, result: dict[str, Any] | None) -> list[Row] | None:
    """``None`` where there is no result, or one that lacks what the benchmark has come to measure."""
    try:
        rows: list[Row] | None = None if result is None else module.rows(result)
    except KeyError:
        return None
    return rows


def _section(name: str, module: ModuleType, result: dict[str, Any] | None) -> str:
    details = getattr(module, "details", None)
    parts = [f"## {name}", str(module.__doc__).strip().replace("``", "`")]
    if result is not None and details is not None:
        parts.append(details(result).strip())
    return "\n\n".join(parts) + "\n"


def _machines(machines: list[dict[str, Any]]) -> str:
    """One sentence for each distinct machine; CPU threads and versions as measured."""
    seen: list[str] = []
    for m in machines:
        processor = m.get("processor", "processor not recorded")
        gpu = f", {m['gpu']}" if m.get("gpu") else ", no GPU"
        text = f"{m['cores']} cores ({processor}), {m['threads']} threads, torch {m['torch']}{gpu}"
        if text not in seen:
            seen.append(text)
    return "Measured on: " + "; ".join(seen) + ".\n" if seen else ""
