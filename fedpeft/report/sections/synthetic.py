# SPDX-License-Identifier: Apache-2.0
"""Synthetic data and their certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fedpeft.report import words
from fedpeft.report.parts import Block, Facts, Note, Section, Table
from fedpeft.report.run_folder import RunFolder
from fedpeft.synthesis.dataset import SyntheticDataset

_EXAMPLES: Final = 3
_CELL: Final = 160  # letters of an example
_GROUPS: Final = 20


def section(run: RunFolder, prefix: str) -> Section:
    """What was made before the rounds, and what it cost."""
    return Section(f"{prefix}synthetic", "Synthetic data", tuple(_blocks(run)))


def _blocks(run: RunFolder) -> Iterator[Block]:
    if run.synthetic_problem:
        yield Note(f"Refused: {run.synthetic_problem}", "bad")
    elif run.synthetic is None:
        yield Note("None were made.")
    else:
        yield from _of(run.synthetic)


def _of(data: SyntheticDataset) -> Iterator[Block]:
    certificate = data.certificate
    wrong = certificate.problems()
    for problem in wrong:
        yield Note(problem, "bad")
    if not wrong:
        yield Note(
            "The rows are those of the certificate, and its events cost what it says. fedpeft ledger "
            "verify also holds it against the ledgers.",
            "good",
        )
    yield Facts(
        (
            ("rows", f"{len(data.rows):,}"),
            ("lineages", f"{len({row.lineage for row in data.rows}):,}"),
            ("generator", certificate.generator),
            ("epsilon by themselves", words.number(certificate.epsilon)),
            ("delta", words.number(certificate.delta)),
            ("unit", certificate.unit),
            ("SHA-256", certificate.data_sha256),
        )
    )
    if certificate.note:
        yield Note(certificate.note, "warn")
    for site, why in certificate.left_out.items():
        yield Note(f"{site} released nothing for the data: {why}.", "warn")
    rows = tuple(
        (
            site,
            f"{c.declared_units:,}",
            f"{len(c.request_ids)}",
            words.number(c.event.noise_multiplier),
            c.ledger_head[:16],
        )
        for site, c in certificate.contributors.items()
    )
    columns = ("site", "declared units", "releases", "noise multiplier", "ledger head")
    if rows:
        yield Table("Who released something for them", columns, rows, folded=len(rows) > _GROUPS)
    tasks = Counter(row.task or "(none)" for row in data.rows).most_common(_GROUPS)
    if len(tasks) > 1:
        yield Table("Rows by task", ("task", "rows"), tuple((t, f"{n:,}") for t, n in tasks))
    examples = tuple((row.id, row.instruction[:_CELL], row.response[:_CELL]) for row in data.rows[:_EXAMPLES])
    yield Table("The first rows", ("id", "instruction", "response"), examples, folded=True)
