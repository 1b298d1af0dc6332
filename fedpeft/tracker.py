# SPDX-License-Identifier: Apache-2.0
"""``run.tensorboard``: the curves of a run for TensorBoard, of what has left the sites and of nothing else.

A tracker is a reporter: it is told rounds and scores, and has no way to hear of a site's own steps. Scores
on records that nobody declared public are exact figures of private data, and seconds grow with a private
batch; both are passed on and not kept.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from fedpeft.errors import ConfigError
from fedpeft.reporter import Reporter
from fedpeft.stage_settings import RunSettings
from fedpeft.types import JsonDict

TENSORBOARD_FOLDER: Final = "tensorboard"


def check_tracker(settings: RunSettings) -> None:
    """Refuse what is not installed, before anything is begun.

    Raises:
        ConfigError: naming the package.
    """
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "run.tensorboard = true: the package tensorboard is not installed; install fedpeft[tensorboard], "
            "or leave the key away"
        )


@contextmanager
def tracking(
    settings: RunSettings, folder: Path, reporter: Reporter, *, keep_scores: bool
) -> Iterator[Reporter]:
    """Within the context what ``reporter`` hears is kept for TensorBoard as well, if that is asked for.

    Args:
        settings: of the run.
        folder: of the run; the curves go into ``tensorboard/`` there.
        reporter: hears everything all the same.
        keep_scores: whether they are of public records.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    if not settings.tensorboard:
        yield reporter
        return
    check_tracker(settings)
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER))
    try:
        yield Tracked(reporter, writer, keep_scores)
    finally:
        writer.close()


@final
class Tracked:
    """Passes on what it hears, and writes it down."""

    def __init__(self, reporter: Reporter, writer: Any, keep_scores: bool) -> None:
        """Between a run and its reporter."""
        self.evaluating = reporter.evaluating
        self._reporter = reporter
        self._writer = writer
        self._keep_scores = keep_scores

    def round_done(self, number: int, rounds: int, record: JsonDict, epsilon_spent: float) -> None:
        """A round is complete and durable."""
        self._reporter.round_done(number, rounds, record, epsilon_spent)
        self._write("privacy/epsilon_spent", epsilon_spent, number)
        self._write("round/update_norm", record["update_norm"], number)
        self._write("round/sites", len(record["answered"]), number)
        self._write("round/bytes_up", record["bytes_up"], number)
        self._writer.flush()

    def evaluated(self, rounds_done: int, metrics: JsonDict) -> None:
        """The scores after so many rounds."""
        self._reporter.evaluated(rounds_done, metrics)
        if not self._keep_scores:
            return
        for name, figure in metrics.items():
            for part in ("value", "low", "high"):
                if figure[part] is not None:
                    self._write(f"{name}/{part}", figure[part], rounds_done)
        self._writer.flush()

    def _write(self, name: str, value: float, number: int) -> None:
        self._writer.add_scalar(name, value, number)
