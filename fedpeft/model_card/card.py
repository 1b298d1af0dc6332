# SPDX-License-Identifier: Apache-2.0
"""Makes the card from a run's configuration and result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fedpeft import __version__
from fedpeft.config import RunConfig
from fedpeft.errors import RunDirectoryError
from fedpeft.model_card import words
from fedpeft.types import JsonDict

CARD_FILE: Final = "README.md"
_SOURCES: Final = {
    "docstrings": "docstrings of installed Python packages, a public demonstration",
    "jsonl": "files of each organization",
    "csv": "files of each organization",
    "parquet": "files of each organization",
    "python": "tables of each organization, given by a program",
    "sites": "each organization's own; no record left it",
}


def make_card(config: RunConfig, result: JsonDict) -> str:
    """The card's text: a YAML header and Markdown.

    Args:
        config: of the run.
        result: what ``result.json`` holds.
    """
    metrics = result["metrics"]
    said = str(result["guarantee"])
    is_none = said.startswith("none")
    not_private = "NOT PRIVATE" in metrics["privacy"]
    return words.fill(
        "card.md",
        header=_header(config, result, not_private),
        name=words.plain(words.short_name(result["backbone"])),
        guarantee="" if is_none else said,
        why_none=words.plain(said.partition(":")[2].strip() or said) if is_none else "",
        result=result,
        unit=words.plain(result["unit"]),
        scope_is_run=result["ledger_scope"] == "run",
        data=[words.plain(line) for line in _data(config, result)],
        rows=[] if not_private or metrics["before"] is None else list(words.rows(metrics)),
        not_private=not_private,
        metrics=metrics,
        adapter=config.adapter,
        version=__version__,
        versions=result["versions"],
    )


def write_card(config: RunConfig, result: JsonDict, folder: Path) -> None:
    """Write the card into the folder of the adapter.

    Raises:
        RunDirectoryError: it cannot be written.
    """
    path = folder / CARD_FILE
    try:
        path.write_text(make_card(config, result), encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: cannot be written ({error.strerror}); make room and resume"
        ) from error


def _header(config: RunConfig, result: JsonDict, not_private: bool) -> str:
    backbone = str(result["backbone"])
    dataset = config.data.partition.dataset or next((s.dataset for s in config.sites if s.dataset), None)
    is_public = result["metrics"]["before"] is not None and not not_private
    return words.header(
        backbone,
        datasets=[dataset] if dataset and words.HUB_ID.fullmatch(dataset) else None,
        metrics=["accuracy", "perplexity"] if is_public else None,
        is_private=not str(result["guarantee"]).startswith("none"),
    )


def _data(config: RunConfig, result: JsonDict) -> Iterator[str]:
    data, units = config.data, list(config.declared_units.values())
    source = _SOURCES.get(data.source, "data sets that the library datasets loads")
    sites = "1 organization" if len(units) == 1 else f"{len(units)} organizations"
    if data.partition.kind != "none":
        sites = f"one table split over {len(units)} simulated sites"
    yield f"Instruction-response records of {sites} ({source})."
    if units:
        yield f"Declared units: {sum(units):,} in all, the fewest {min(units):,}, the most {max(units):,}."
    most = config.privacy.max_records_per_unit
    yield f"Unit of privacy: {result['unit']}, at most {most} records of a unit."
    yield f"Records are cut to {data.max_length} tokens; {data.held_out:.0%} of the units were held out."
    if config.synthesis.generator is not None:
        yield (
            f"Before training, {config.synthesis.size:,} synthetic records were made (generator "
            f"{config.synthesis.generator}); what the sites released for them is within the same epsilon."
        )
    if result["left_out"]:
        yield f"{len(result['left_out'])} of the sites took no part."
