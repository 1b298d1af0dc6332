# SPDX-License-Identifier: Apache-2.0
"""What trials on public or synthetic rows found, as tables: a forecast, and settings that were tried."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedpeft.cli.progress import figure_text
from fedpeft.types import JsonDict

_FIGURES = ("perplexity", "token_accuracy", "ranking_accuracy")


def forecast_table(found: JsonDict) -> Group:
    """A line for each epsilon."""
    title = f"forecast after {found['rounds']} rounds: {found['seeds']} seeds, {found['records']} rows"
    table = Table(title=title)
    for name in ("epsilon", "noise multiplier", "loss +/- one standard error"):
        table.add_column(name, justify="right")
    for name in _FIGURES:
        table.add_column(name.replace("_", " "), justify="right")
    before = found["before"]
    table.add_row("none yet", "", f"{before['loss']:.4f}", *(figure_text(n, before[n]) for n in _FIGURES))
    for line in found["epsilons"]:
        table.add_row(
            f"{line['epsilon']:g}",
            f"{line['noise_multiplier']:.4f}",
            f"{line['loss']:.4f} +/- {line['loss_standard_error']:.4f}",
            *(figure_text(name, line["figures"][name]) for name in _FIGURES),
        )
    return Group(table, Text(found["caveat"]), Text(f"{found['seconds']:.0f} s; {found['privacy']}"))


def tuning_table(found: JsonDict) -> Group:
    """A line for each setting, and what to take over."""
    table = Table(title="settings tried: loss on validation rows under the noise that each asks for")
    for name in ("key", "value", "trainable", "loss", "+/- one standard error"):
        table.add_column(name, justify="left" if name == "key" else "right")
    for tried in found["tried"]:
        table.add_row(
            tried["key"],
            _shown(tried["value"]),
            f"{tried['trainable']:,}",
            f"{tried['loss']:.4f}",
            f"{tried['standard_error']:.4f}",
        )
    taken = " ".join(f"--set '{override}'" for override in found["set"])
    advice = f"to take it: {taken}" if taken else "nothing was better than what is configured"
    return Group(table, Text(advice), Text(f"{found['seconds']:.0f} s; {found['privacy']}"))


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
