# SPDX-License-Identifier: Apache-2.0
"""``fedpeft evaluate``: how good any PEFT adapter is on a file of records."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command("evaluate", example="evaluate runs/first/adapter --data held_out.jsonl --task task")
@click.argument("adapter", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option(
    "--data", "path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A jsonl file."
)
@click.option("--backbone", help="Backbone; default: the one the adapter names.")
@click.option("--instruction", default="instruction", show_default=True, help="Column of the instruction.")
@click.option("--response", default="response", show_default=True, help="Column of the response.")
@click.option("--task", help="Column of the task, from which ranking takes its other responses.")
@click.option(
    "--max-length", default=256, show_default=True, type=click.IntRange(min=8), help="Tokens of a record."
)
@click.option(
    "--records", default=200, show_default=True, type=click.IntRange(min=1), help="Most records to evaluate."
)
def command(
    adapter: Path,
    path: Path,
    backbone: str | None,
    instruction: str,
    response: str,
    task: str | None,
    max_length: int,
    records: int,
) -> Answer:
    """Ranking accuracy, token accuracy and perplexity of a PEFT adapter, without and with it.

    The figures are exact and carry no noise: use records that are public or your own.
    """
    from fedpeft.adapter_evaluation import evaluate_adapter
    from fedpeft.cli.progress import figures_table, showing_progress
    from fedpeft.settings import DataSettings

    data = DataSettings(
        source="jsonl", instruction=instruction, response=response, task=task, max_length=max_length
    )
    with showing_progress() as progress:
        found = evaluate_adapter(adapter, path, data, backbone, records, progress.evaluating)
    return Answer(found, figures_table(found, str(adapter)))
