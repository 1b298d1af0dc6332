# SPDX-License-Identifier: Apache-2.0
"""Any PEFT adapter, ours or not, against its untouched backbone on a file of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from fedpeft.adapters.peft_format import backbone_of, peft_attached
from fedpeft.backbone.loading import load_backbone
from fedpeft.data.prompts import Prompter
from fedpeft.data.sources import load_records
from fedpeft.evaluation import Scores, check_labels, choose_records, compare, evaluate, summarize
from fedpeft.settings import DataSettings, ModelSettings
from fedpeft.types import JsonDict


def evaluate_adapter(
    adapter: Path,
    path: Path,
    data: DataSettings,
    backbone: str | None,
    limit: int,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    labels: Sequence[str] = (),
) -> JsonDict:
    """Ranking accuracy, token accuracy and perplexity without and with the adapter.

    Args:
        adapter: a folder that peft can load.
        path: a jsonl file.
        data: its columns, how a prompt is made of them, and the length of a record.
        backbone: default: the one the adapter names.
        limit: most records to evaluate.
        progress: called with ``before`` or ``after``, records done, all records.
        labels: the only responses there are; ranking accuracy is then label accuracy.

    Returns:
        ``before``, ``after`` and ``difference`` as in ``result.json``, and the number of records.

    Raises:
        UserError: adapter, backbone or file cannot be used.
    """
    settings = ModelSettings(backbone=backbone or backbone_of(adapter))
    records = choose_records(load_records(path, data), limit)
    if labels:
        check_labels(records, labels)
    loaded = load_backbone(settings)
    prompter = Prompter.of(loaded.tokenizer, data)

    def hears(label: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(label, done, total) if progress else None

    def scored(model: nn.Module, label: str) -> Scores:
        return evaluate(
            model, prompter, records, device=loaded.device, labels=tuple(labels), progress=hears(label)
        )

    before = scored(loaded.model, "before")
    with peft_attached(loaded.model, adapter) as model:
        after = scored(model, "after")
    return {
        "before": summarize(before),
        "after": summarize(after),
        "difference": compare(before, after),
        "records": len(records),
        "privacy": "exact figures of these records",
    }
