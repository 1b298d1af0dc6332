# SPDX-License-Identifier: Apache-2.0
"""Makes the card from a run's configuration and result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from fedpeft import __version__
from fedpeft.config import RunConfig
from fedpeft.errors import RunDirectoryError
from fedpeft.types import JsonDict

CARD_FILE: Final = "README.md"
_HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
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
    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("fedpeft.model_card") / "card.md").read_text("utf-8")
    metrics = result["metrics"]
    said = str(result["guarantee"])
    is_none = said.startswith("none")
    not_private = "NOT PRIVATE" in metrics["privacy"]
    return environment.from_string(template).render(
        header=_header(config, result, not_private).to_yaml(),
        name=plain(_short(result["backbone"])),
        guarantee="" if is_none else said,
        why_none=plain(said.partition(":")[2].strip() or said) if is_none else "",
        result=result,
        unit=plain(result["unit"]),
        scope_is_run=result["ledger_scope"] == "run",
        data=[plain(line) for line in _data(config, result)],
        rows=[] if not_private or metrics["before"] is None else list(_rows(metrics)),
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


def plain(text: str) -> str:
    """Text that Markdown takes as it is, in one line: the name of a column must not become markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(str(text).split()))


def _header(config: RunConfig, result: JsonDict, not_private: bool) -> ModelCardData:
    backbone = str(result["backbone"])
    dataset = config.data.partition.dataset or next((s.dataset for s in config.sites if s.dataset), None)
    is_public = result["metrics"]["before"] is not None and not not_private
    private = [] if str(result["guarantee"]).startswith("none") else ["differential-privacy"]
    return ModelCardData(
        base_model=backbone if _HUB_ID.fullmatch(backbone) else None,
        datasets=[dataset] if dataset and _HUB_ID.fullmatch(dataset) else None,
        library_name="peft",
        pipeline_tag="text-generation",
        metrics=["accuracy", "perplexity"] if is_public else None,
        tags=["lora", "federated-learning", *private, "fedpeft"],
    )


def _short(name: str) -> str:
    """A hub id as it is; of a path the last part, as the rest is about a machine."""
    return name if _HUB_ID.fullmatch(name) else Path(name).name


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


def _rows(metrics: JsonDict) -> Iterator[tuple[str, ...]]:
    for name, before in metrics["before"].items():
        after, change = metrics["after"][name], metrics["difference"][name]
        title = (
            "label accuracy" if name == "ranking_accuracy" and metrics["labels"] else name.replace("_", " ")
        )
        yield title, *(_figure(name, found) for found in (before, after, change))


def _figure(name: str, found: JsonDict) -> str:
    if found["value"] is None:
        return "-"
    factor, unit = (100, " %") if name.endswith("accuracy") else (1, "")
    low, high = (f"{factor * found[end]:.1f}" if unit else f"{found[end]:.2f}" for end in ("low", "high"))
    value = f"{factor * found['value']:.1f}" if unit else f"{found['value']:.2f}"
    return f"{value}{unit} [{low}, {high}]"
