# SPDX-License-Identifier: Apache-2.0
"""The sentence to sign, with the whole life of each policy beside this run's cap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fedpeft.report import words
from fedpeft.report.parts import Block, Facts, Note, Quote, Section, table
from fedpeft.report.run_folder import RunFolder
from fedpeft.report.statement import statement


def section(run: RunFolder, page_shows: Sequence[str], prefix: str) -> Section:
    """First of all sections."""
    return Section(f"{prefix}sentence", "The sentence to sign", tuple(_blocks(run, page_shows)))


def _blocks(run: RunFolder, page_shows: Sequence[str]) -> Iterator[Block]:
    made = statement(run, page_shows)
    if made.sentence:
        yield Quote(made.sentence)
        if run.config is not None and run.config.data.source == "sites":
            yield Note(
                "This is the coordinator's word. A site's own ledger is what counts: "
                "`fedpeft report DIR --ledger LEDGER` holds the sentence against it."
            )
    for reason in made.withheld:
        yield Note(f"Withheld: {reason}.", "bad" if run.result is not None else "plain")
    if run.result is not None:
        yield Facts(tuple(_facts(run)))
    yield from _life(run)


def _facts(run: RunFolder) -> Iterator[tuple[str, str]]:
    result = run.result
    assert result is not None
    nominal = "" if not str(result["guarantee"]).startswith("none") else " (nominal: there is no guarantee)"
    yield f"epsilon{nominal}", f"{words.number(result['epsilon'])}"
    yield f"delta{nominal}", f"{words.number(result['delta'])}"
    yield "unit", str(result["unit"])
    yield "rounds", f"{result['rounds_completed']} of {run.planned_rounds or '?'}"
    yield "stopped because", str(result["stopped_because"])


def _life(run: RunFolder) -> Iterator[Block]:
    if run.ledgers:
        own = run.result.get("run_id") if run.result else None
        rows = []
        for ledger in run.ledgers:
            before = ledger.apart_from(own) if own else None
            rows.append(
                (
                    ledger.identity,
                    _pair(ledger.epsilon, ledger.delta),
                    _pair(before.epsilon, before.delta) if before else "-",
                    _pair(ledger.committed.epsilon, ledger.committed.delta),
                    str(len(ledger.commitments)),
                )
            )
        columns = ("site", "the policy allows, for life", "other runs took", "all runs took", "commitments")
        yield table("The whole life of each policy: epsilon at delta", columns, rows)
    for problem in run.ledger_problems:
        yield Note(problem, "bad")
    if run.result is not None and run.result["ledger_scope"] == "run":
        yield Note(
            "These ledgers cover this one simulation only: they began with it. Whatever else was released "
            "from the same records - other runs, other seeds, a choice among several runs - adds to the "
            "epsilon above and is not counted here.",
            "warn",
        )
    elif not run.ledgers:
        yield Note(
            "Each organization keeps its own ledger, over all its runs; this page has seen none. Name one "
            "with --ledger to set the policy's whole life beside this run's cap."
        )


def _pair(epsilon: float, delta: float) -> str:
    return f"{words.number(epsilon)} at {words.number(delta)}"
