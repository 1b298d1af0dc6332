# SPDX-License-Identifier: Apache-2.0
"""The sections of a run's page, one file each, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedpeft.report.parts import Section
from fedpeft.report.run_folder import RunFolder
from fedpeft.report.sections import (
    budget,
    cautions,
    cost,
    curves,
    layers,
    metrics,
    noise,
    provenance,
    sentence,
    synthetic,
)

_AFTER_THE_SENTENCE: Sequence[Callable[[RunFolder, str], Section]] = (
    cautions.section,
    budget.section,
    metrics.section,
    curves.section,
    noise.section,
    layers.section,
    synthetic.section,
    cost.section,
    provenance.section,
)


def sections_of(run: RunFolder, page_shows: Sequence[str], prefix: str) -> list[Section]:
    """Everything a page says about one run.

    Args:
        run: it.
        page_shows: what the page shows that no guarantee covers.
        prefix: of the names of this run's sections and drawings, unique on the page.
    """
    first = sentence.section(run, page_shows, prefix)
    return [first, *(section(run, prefix) for section in _AFTER_THE_SENTENCE)]
