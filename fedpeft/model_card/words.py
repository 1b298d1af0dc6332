# SPDX-License-Identifier: Apache-2.0
"""What every card is made with: header, template, figures, and text that cannot become markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from fedpeft.types import JsonDict

HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")


def fill(template: str, **values: Any) -> str:
    """A template of this folder with its values."""
    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((files("fedpeft.model_card") / template).read_text("utf-8")).render(
        **values
    )


def header(
    backbone: str,
    *,
    is_private: bool,
    datasets: list[str] | None = None,
    metrics: list[str] | None = None,
) -> str:
    """The YAML that the Hugging Face Hub reads."""
    private = ["differential-privacy"] if is_private else []
    data = ModelCardData(
        base_model=backbone if HUB_ID.fullmatch(backbone) else None,
        datasets=datasets,
        library_name="peft",
        pipeline_tag="text-generation",
        metrics=metrics,
        tags=["lora", "federated-learning", *private, "fedpeft"],
    )
    return str(data.to_yaml())


def plain(text: str) -> str:
    """Text that Markdown takes as it is, in one line: the name of a column must not become markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(str(text).split()))


def short_name(name: str) -> str:
    """A hub id as it is; of a path the last part, as the rest is about a machine."""
    return name if HUB_ID.fullmatch(name) else Path(name).name


def rows(metrics: JsonDict) -> Iterator[tuple[str, ...]]:
    """Of the table of metrics: name, before, after, difference."""
    for name, before in metrics["before"].items():
        after, change = metrics["after"][name], metrics["difference"][name]
        title = (
            "label accuracy" if name == "ranking_accuracy" and metrics["labels"] else name.replace("_", " ")
        )
        yield title, *(_figure(name, found) for found in (before, after, change))


def _figure(name: str, found: JsonDict) -> str:
    if found["value"] is None:
        return "-"
    factor, digits, unit = (100, 1, " %") if name.endswith("accuracy") else (1, 2, "")
    value, low, high = (
        "-" if found[key] is None else f"{factor * found[key]:.{digits}f}" for key in ("value", "low", "high")
    )
    return f"{value}{unit} [{low}, {high}]"
