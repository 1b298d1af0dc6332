# SPDX-License-Identifier: Apache-2.0
"""``fedpeft evaluate``: how good any PEFT adapter is on a file of records."""

from __future__ import annotations

from pathlib import Path

import click

from fedpeft.cli import frame
from fedpeft.cli.frame import Answer


@frame.command(
    "evaluate",
    example=(
        "evaluate runs/first/adapter --data test.jsonl --config run.toml",
        "evaluate runs/first/adapter --data test.jsonl --task task",
    ),
)
@click.argument("adapter", metavar="ADAPTER", type=click.Path(path_type=Path))
@click.option(
    "--data", "path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A jsonl file."
)
@click.option("--backbone", help="Backbone; default: the one the adapter names.")
@click.option(
    "--config",
    "run_file",
    type=click.Path(path_type=Path),
    metavar="RUN.toml",
    help="Make prompts as this run does: columns, template, length and labels.",
)
@click.option("--instruction", help="Column of the instruction. [default: instruction]")
@click.option("--response", help="Column of the response. [default: response]")
@click.option("--task", help="Column of the task, from which ranking takes its other responses.")
@click.option("--max-length", type=click.IntRange(min=8), help="Tokens of a record. [default: 256]")
@click.option(
    "--records", default=200, show_default=True, type=click.IntRange(min=1), help="Most records to evaluate."
)
def command(
    adapter: Path,
    path: Path,
    backbone: str | None,
    run_file: Path | None,
    records: int,
    **columns: str | int | None,
) -> Answer:
    """Ranking accuracy, token accuracy and perplexity of a PEFT adapter, without and with it.

    The figures are exact and carry no noise: use records that are public or your own.
    """
    from fedpeft.adapter_evaluation import evaluate_adapter
    from fedpeft.cli.progress import figures_table, showing_progress
    from fedpeft.config import load_config
    from fedpeft.settings import DataSettings
    from fedpeft.stage_settings import EvaluationSettings

    given = {"source": "jsonl"} | {key: value for key, value in columns.items() if value is not None}
    data, labels = DataSettings(), EvaluationSettings().labels
    if run_file is not None:
        config = load_config(run_file)
        data, labels = config.data, config.evaluation.labels
    data = DataSettings.model_validate(data.model_dump() | given)
    with showing_progress() as progress:
        found = evaluate_adapter(adapter, path, data, backbone, records, progress.evaluating, labels=labels)
    return Answer(found, figures_table(found, str(adapter)))
