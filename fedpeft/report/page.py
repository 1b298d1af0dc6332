# SPDX-License-Identifier: Apache-2.0
"""Runs become one page that needs nothing but itself: no network, no script, no font of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined

from fedpeft import __version__
from fedpeft.errors import RunDirectoryError
from fedpeft.report.compare import comparison
from fedpeft.report.parts import Section
from fedpeft.report.run_folder import RunFolder
from fedpeft.report.sections import sections_of
from fedpeft.report.statement import uncovered

REPORT_FILE: Final = "report.html"


@dataclass(frozen=True, slots=True)
class _Article:
    """A run's part of the page."""

    name: str
    state: str
    sections: list[Section]


def make_page(runs: Sequence[RunFolder], *, script: str = "", nonce: str = "") -> str:
    """The HTML of one run, or of several side by side.

    Args:
        runs: at least one.
        script: of a page that refreshes itself.
        nonce: by which the page's own policy lets that script run.
    """
    shows = [line for run in runs for line in uncovered(run)]
    many = len(runs) > 1
    articles = [
        _Article(run.name, state_of(run), sections_of(run, shows, f"r{i}-" if many else ""))
        for i, run in enumerate(runs, 1)
    ]
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=" | ".join(run.name for run in runs),
            articles=articles,
            comparison=comparison(runs) if many else None,
            not_private=shows,
            style=_template("style.css"),
            script=script,
            nonce=nonce,
            version=__version__,
        )
    )


def write_page(runs: Sequence[RunFolder], path: Path) -> None:
    """Write :func:`make_page` to a file, at once; for its owner alone where it is NOT PRIVATE.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    mode = 0o600 if any(uncovered(run) for run in runs) else 0o644
    draft = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        draft.touch(mode=mode)
        draft.write_text(make_page(runs), encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: cannot be written ({error.strerror}); name another --out"
        ) from error


def state_of(run: RunFolder) -> str:
    """In a few words, how far it is."""
    if run.is_finished and run.result is not None:
        return f"{run.result['stopped_because']} after {run.result['rounds_completed']} rounds"
    planned = f" of {run.planned_rounds}" if run.planned_rounds else ""
    return f"{len(run.rounds)}{planned} rounds done"


def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _template(name: str) -> str:
    return (files("fedpeft.report") / "templates" / name).read_text("utf-8")
