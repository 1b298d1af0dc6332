# SPDX-License-Identifier: Apache-2.0
"""``fedpeft doctor``: is everything here that a run needs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from fedpeft.types import JsonDict


@frame.command("doctor", example="doctor --backbone ./my-model")
@click.option("--backbone", help="Hub id, folder or GGUF file; default: the built-in one, fetched if absent.")
def command(backbone: str | None) -> Answer:
    """Show versions and devices, and check without noise that every segment of an adapter trains."""
    from fedpeft.doctor import examine
    from fedpeft.settings import AdapterSettings, ModelSettings

    model = ModelSettings(backbone=backbone) if backbone else ModelSettings()
    report = examine(model, AdapterSettings())
    return Answer(report, "\n".join(_lines(report)), 0 if report["healthy"] else 1)


def _lines(report: JsonDict) -> Iterator[str]:
    for name, version in report["versions"].items():
        note = "  not the tested version" if name in report["untested"] else ""
        yield f"{name:14} {version}{note}"
    for name, version in report["optional"].items():
        yield f"{name:14} {version or 'not installed (optional)'}"
    yield f"GPUs           {', '.join(report['cuda_devices']) or 'none'}; {report['threads']} CPU threads"
    if report["healthy"]:
        yield f"self-check     good: {report['segments']} segments train on {report['device']}"
    for problem in report["problems"]:
        yield f"self-check     {problem}"
