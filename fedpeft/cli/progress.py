# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a run: bars on standard error while it goes on, a table when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedpeft.cli.frame import Answer, progress_console
from fedpeft.config import RunConfig
from fedpeft.report import REPORT_FILE
from fedpeft.shared import Shared
from fedpeft.training.local import StepProgress
from fedpeft.types import JsonDict

if TYPE_CHECKING:
    from fedpeft.baselines.beside import Listener

_PERCENT = ("ranking_accuracy", "token_accuracy")


class TerminalProgress:
    """Hears of evaluation, rounds and steps, and draws them.

    What it shows of a site's steps is the site's own business: fit for the terminal of a simulation, never
    sent or stored.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._line: TaskID | None = None
        self._round = 1
        self._spent = 0.0
        self._site = ("", 0)
        self._first = self._last = 0  # tokens done when this step was first and last heard of
        self._since = monotonic()

    def evaluating(self, label: str, done: int, total: int) -> None:
        """Records evaluated."""
        self._draw(f"evaluate {label}", done, total)

    def stage(self, label: str, done: int, total: int) -> None:
        """Parts of a stage before the rounds."""
        self._draw(label, done, total)

    def site_step(self, site: str, step: StepProgress) -> None:
        """A micro-batch of a site is done."""
        if self._site != (site, step.step) or step.tokens_done <= self._last:
            self._site, self._since, self._first = (site, step.step), monotonic(), step.tokens_done
        self._last = step.tokens_done
        seconds = monotonic() - self._since
        rate = f", {(self._last - self._first) / seconds:,.0f} tokens/s" if seconds > 0.5 else ""
        where = f"round {self._round}, epsilon spent {self._spent:.2f}"
        label = f"{where}: {site} step {step.step}/{step.num_steps}{rate}"
        self._draw(label, step.tokens_done, max(1, step.tokens_in_step))

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """A round is complete."""
        self.go_on(number + 1, epsilon_spent)
        names = [f"{site} ({why})" for key in ("refused", "dropped") for site, why in record[key].items()]
        left_out = (
            f", without {', '.join([*names, *record['missing']])}" if names or record["missing"] else ""
        )
        self._progress.console.print(
            f"round {number}/{rounds}: {len(record['answered'])} sites{left_out}, "
            f"epsilon spent {epsilon_spent:.3f}, {record['seconds']['train']:.1f} s"
        )

    def go_on(self, number: int, epsilon_spent: float) -> None:
        """The next round is this one."""
        self._round, self._spent = number, epsilon_spent

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """The scores after so many rounds."""
        figures = (
            f"{name.replace('_', ' ')} {figure_text(name, figure)}" for name, figure in metrics.items()
        )
        when = f"after round {rounds_done}" if rounds_done else "before the first round"
        self._progress.console.print(f"{when}: {', '.join(figures)}")

    def baseline(self, name: str, done: int, total: int) -> None:
        """Rounds or records of a baseline."""
        self._draw(f"NOT PRIVATE: {name}", done, total)

    def _draw(self, label: str, done: int, total: int) -> None:
        if self._line is None:
            self._line = self._progress.add_task(label, total=total)
        self._progress.update(self._line, description=label, completed=done, total=total)


@contextmanager
def showing_progress() -> Iterator[TerminalProgress]:
    """Draw on standard error, on one line that is gone when the run is over."""
    with make_progress(progress_console()) as progress:
        yield TerminalProgress(progress)


def make_progress(console: Console) -> Progress:
    """The line: what is done, a bar, numbers, the time it took so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def closing_table(result: JsonDict, folder: Path) -> Group:
    """The figures of ``result.json`` that people look for first."""
    lines = [
        _spent(result),
        f"{result['trainable_parameters']:,} trainable parameters ({result['trainable_percent']:.3f} %), "
        f"{result['seconds']['total']:.0f} s, peak {result['peak_rss_mb']:,.0f} MB",
        f"guarantee: {result['guarantee']}",
        result.get("watermark")
        or f"adapter: {folder / 'adapter'}   ledgers: {folder / 'ledger'}   report: {folder / REPORT_FILE}",
    ]
    title = f"{folder}: {result['stopped_because']} after {result['rounds_completed']} rounds"
    return Group(figures_table(result["metrics"], title), *lines)


def _spent(result: JsonDict) -> str:
    if result["epsilon"] is None:
        return "no epsilon: nothing is promised"
    return (
        f"epsilon {result['epsilon']:g} (spent {result['epsilon_spent']:.4f}), delta {result['delta']:.3g}, "
        f"unit {result['unit']}"
    )


def beside_run(
    config: RunConfig,
    folder: Path,
    result: JsonDict,
    progress: Listener,
    shared: Shared | None = None,
) -> JsonDict | None:
    """Train the baselines of a run, unless it was interrupted and will be gone on with."""
    from fedpeft.baselines import run_baselines

    if result["stopped_because"] == "interrupted":
        return None
    return run_baselines(config, folder, progress, shared=shared)


def closing(result: JsonDict, folder: Path, beside: JsonDict | None) -> Answer:
    """What a run has to say; baselines stand apart, under their own heading."""
    table: RenderableType = closing_table(result, folder)
    if beside is None:
        return Answer(result, table, exit_code(result))
    text = Group(table, "", baselines_table(beside))
    return Answer({**result, "not_private_baselines": beside}, text, exit_code(result))


def baselines_table(beside: JsonDict) -> Group:
    """The content of ``baselines.json``."""
    table = Table(title=f"NOT PRIVATE - baselines beside the run (guarantee {beside['guarantee']})")
    names = list(beside["run"])
    table.add_column("trained on the same settings")
    for name in names:
        table.add_column(f"{name.replace('_', ' ')}\nthe run's difference", justify="right")
    table.add_row("the run", *(figure_text(name, beside["run"][name]) for name in names))
    for label, entry in beside["baselines"].items():
        if "failed" in entry:
            table.add_row(f"{label}: {entry['failed']}")
            continue
        figures = (
            "\n".join(figure_text(name, entry[which][name]) for which in ("metrics", "run_minus_baseline"))
            for name in names
        )
        table.add_row(label, *figures)
    return Group(table, beside["watermark"])


def exit_code(result: JsonDict) -> int:
    """1 for a run that never got a round done; one that used up its budget has done its work."""
    return 0 if result["rounds_completed"] or result["stopped_because"] == "budget" else 1


def figures_table(metrics: JsonDict, title: str) -> Group:
    """Figures before and after, and their paired difference."""
    if metrics["before"] is None:
        return Group(f"{title}; {metrics['privacy']}")
    table = Table(title=title)
    for name in ("metric", "before", "after", "difference (95 % interval, paired)"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, before in metrics["before"].items():
        figures = (before, metrics["after"][name], metrics["difference"][name])
        table.add_row(name.replace("_", " "), *(figure_text(name, f) for f in figures))
    return Group(table, f"{metrics['records']} records, {metrics['privacy']}")


def figure_text(name: str, figure: JsonDict) -> str:
    """A figure with its interval."""

    def show(number: float | None) -> str:
        if number is None:
            return "-"
        return f"{100 * number:.1f} %" if name in _PERCENT else f"{number:.3f}"

    return f"{show(figure['value'])} [{show(figure['low'])}, {show(figure['high'])}]"
