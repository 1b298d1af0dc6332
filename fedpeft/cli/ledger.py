# SPDX-License-Identifier: Apache-2.0
"""``fedpeft ledger``: what has been spent, and whether the account is right."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer

if TYPE_CHECKING:
    from rich.table import Table

    from fedpeft.privacy.ledger import LedgerRow, VerifyReport
    from fedpeft.types import JsonDict


@frame.group("ledger", example="ledger verify runs/first/ledger")
def command() -> None:
    """Show or verify privacy ledgers: one file, or all of a folder."""


_path = click.argument("path", metavar="PATH", type=click.Path(exists=True, path_type=Path))


@frame.command("show", example="ledger show runs/first/ledger/pandas.sqlite", within=command)
@_path
def show(path: Path) -> Answer:
    """List every event of the ledgers at PATH, oldest first."""
    from rich.console import Group

    from fedpeft.privacy.ledger import show

    ledgers = {file: show(file) for file in _files(path)}
    data = [
        {"path": str(file), "events": [asdict(row) for row in ledger]} for file, ledger in ledgers.items()
    ]
    return Answer({"ledgers": data}, Group(*(_table(file, ledger) for file, ledger in ledgers.items())))


@frame.command("verify", example="ledger verify runs/first/ledger", within=command)
@_path
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The policy.toml it must belong to; also says what the next run may take.",
)
def verify(path: Path, policy_file: Path | None) -> Answer:
    """Recompute everything in the ledgers at PATH, with a second accountant; exit 1 if anything is wrong.

    The folder of a run stands for its ledgers and for the certificate of its synthetic data.
    """
    from fedpeft.privacy.ledger import verify, verify_all

    policy = None
    if policy_file is not None:
        from fedpeft.privacy.policy import load_policy

        policy = load_policy(policy_file)
    ledgers = path / "ledger" if (path / "ledger").is_dir() else path
    reports = verify_all(ledgers, policy) if ledgers.is_dir() else [verify(ledgers, policy)]
    lines = [line for report in reports for line in _lines(report)]
    problems = _certificate_problems(path, ledgers)
    if problems is not None:
        lines += [f"{path / 'synthetic'}: {'WRONG' if problems else 'good'}", *(f"  {p}" for p in problems)]
    good = all(report.ok for report in reports) and not problems
    data = {"ok": good, "ledgers": [_json(r) for r in reports], "certificate": problems}
    return Answer(data, "\n".join(lines), 0 if good else 1)


def _certificate_problems(run: Path, ledgers: Path) -> list[str] | None:
    """Of the synthetic data of a run; ``None`` where it has none."""
    from fedpeft.synthesis.dataset import FOLDER, is_complete
    from fedpeft.synthesis.verify import problems_of

    return problems_of(run / FOLDER, ledgers) if is_complete(run / FOLDER) else None


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.sqlite")) if path.is_dir() else [path]


def _table(file: Path, ledger: Sequence[LedgerRow]) -> Table:
    from rich.table import Table

    table = Table(title=f"{file}: {len(ledger)} events")
    for name in ("#", "time", "request", "noise multiplier", "rate", "steps", "unit", "released"):
        table.add_column(name)
    for row in ledger:
        event = row.event
        numbers = (f"{event.noise_multiplier:g}", f"{event.sampling_rate:g}", str(event.steps))
        released = "yes" if row.released else "no"
        table.add_row(str(row.seq), row.time, row.request_id, *numbers, event.unit, released)
    return table


def _lines(report: VerifyReport) -> Iterable[str]:
    if not report.ok:
        yield f"{report.path}: WRONG"
        yield from (f"  {problem}" for problem in report.problems)
        return
    yield (
        f"{report.path}: good; {report.num_events} events, {report.num_releases} releases, committed "
        f"epsilon {report.epsilon_committed:.4f} of {report.epsilon:g} at delta {report.delta:.3g}"
    )
    from fedpeft.types import SEEDED_PREFIX

    for run in report.runs:
        if run.run_id.startswith(SEEDED_PREFIX):
            yield f"  run {run.run_id[:12]}: SEEDED, so its noise is predictable and there is no guarantee"
        yield (
            f"  run {run.run_id[:12]}: {run.steps_spent} of {run.steps_committed} steps at multiplier "
            f"{_noise(run.parts)}, rate {run.sampling_rate:g}{_votes(run.votes)}; epsilon spent "
            f"{run.epsilon_spent:.4f} of {run.epsilon_committed:.4f}; {run.second_accountant} of opacus says "
            f"at most {run.second_opinion:.4f}"
        )
    if report.left is not None:
        yield f"  left for the next run: epsilon {report.left.epsilon:.4f} at delta {report.left.delta:.3g}"
    if report.filter is not None:
        yield (
            f"  outside any run: {report.filter.steps_spent} steps; Renyi divergence of order "
            f"{report.filter.order}: {report.filter.spent:.4f} of {report.filter.budget:.4f} (epsilon "
            f"{report.filter.epsilon_committed:g}); opacus says {report.filter.second_opinion:.4f}"
        )


def _votes(votes: Sequence[tuple[float, int]]) -> str:
    return f", votes: {sum(number for _, number in votes)} at multiplier {_noise(votes)}" if votes else ""


def _noise(parts: Sequence[tuple[float, int]]) -> str:
    """One multiplier, or the least and the largest."""
    multipliers = [multiplier for multiplier, _ in parts]
    least, most = f"{min(multipliers):g}", f"{max(multipliers):g}"
    return least if least == most else f"{least} to {most}"


def _json(report: VerifyReport) -> JsonDict:
    data = asdict(report) | {"path": str(report.path), "ok": report.ok}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in data.items()}
