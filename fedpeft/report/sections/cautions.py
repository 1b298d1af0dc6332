# SPDX-License-Identifier: Apache-2.0
"""What a reader must know before trusting the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fedpeft.report import words
from fedpeft.report.parts import Block, Note, Section
from fedpeft.report.run_folder import RunFolder

_SHOWN: Final = 20


def section(run: RunFolder, prefix: str) -> Section:
    """Warnings, each once; or that there are none."""
    found: tuple[Block, ...] = tuple(Note(text, "warn") for text in dict.fromkeys(_warnings(run)))
    if not found:
        found = (Note("None.", "good"),)
    return Section(f"{prefix}warnings", "Warnings", found)


def _warnings(run: RunFolder) -> Iterator[str]:
    result = run.result
    if result is not None:
        if result["seed"] is not None:
            yield f"Insecure randomness: run.seed = {result['seed']} makes all noise predictable."
        yield from (str(line) for line in result.get("warnings", ()))
        yield from _some(f"{name} took no part: {why}." for name, why in result.get("left_out", {}).items())
        if result["stopped_because"] != "completed":
            yield f"The run stopped early ({result['stopped_because']}): {result['stopped_detail']}."
    yield from _of_delta(run)
    yield from _of_rounds(run)
    if run.config is not None and run.config.privacy.arithmetic == "float":
        yield 'privacy.arithmetic = "float": attacks on floating-point noise are not covered.'
    if run.config_problem:
        yield f"config.toml cannot be read by this version of fedpeft: {run.config_problem}"


def _of_delta(run: RunFolder) -> Iterator[str]:
    if run.config is None:
        return
    delta, units = run.config.delta, run.config.declared_units
    worst = max(units, key=lambda name: units[name], default=None)
    if worst is not None and delta * units[worst] >= 1:
        yield (
            f"delta = {words.number(delta)} is not below 1 / n for {worst} with its {units[worst]:,} "
            "declared units: a mechanism that publishes a random record would pass. Choose 1 / n^1.1 or less."
        )


def _of_rounds(run: RunFolder) -> Iterator[str]:
    """Sites that were asked in a round and are not in its aggregate."""
    absent: Counter[tuple[str, str]] = Counter()
    for record in run.rounds:
        for kind, text in (("refused", "refused"), ("dropped", "was dropped")):
            absent.update((site, f"{text} ({why})") for site, why in record.get(kind, {}).items())
        absent.update((site, "did not answer") for site in record.get("missing", ()))
    yield from _some(
        f"{site} {what} in {words.counted(times, 'round')}." for (site, what), times in sorted(absent.items())
    )


def _some(lines: Iterator[str]) -> Iterator[str]:
    kept = list(lines)
    yield from kept[:_SHOWN]
    if len(kept) > _SHOWN:
        yield f"... and {len(kept) - _SHOWN} more of this kind; rounds.jsonl has them all."
