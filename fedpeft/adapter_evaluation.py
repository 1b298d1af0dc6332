# SPDX-License-Identifier: Apache-2.0
"""Any PEFT adapter, ours or not, against its untouched backbone on a file of records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedpeft.adapters.peft_format import backbone_of, peft_attached
from fedpeft.backbone.loading import load_backbone
from fedpeft.data.prompts import Prompter
from fedpeft.data.sources import load_records
from fedpeft.evaluation import choose_records, compare, evaluate, summarize
from fedpeft.settings import DataSettings, ModelSettings
from fedpeft.types import JsonDict


def evaluate_adapter(
    adapter: Path,
    path: Path,
    data: DataSettings,
    backbone: str | None,
    limit: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> JsonDict:
    """Ranking accuracy, token accuracy and perplexity without and with the adapter.

    Args:
        adapter: a folder that peft can load.
        path: a jsonl file.
        data: its columns and the length of a record.
        backbone: default: the one the adapter names.
        limit: most records to evaluate.
        progress: called with ``before`` or ``after``, records done, all records.

    Returns:
        ``before``, ``after`` and ``difference`` as in ``result.json``, and the number of records.

    Raises:
        UserError: adapter, backbone or file cannot be used.
    """
    settings = ModelSettings(backbone=backbone or backbone_of(adapter))
    records = choose_records(load_records(path, data), limit)
    loaded = load_backbone(settings)
    prompter = Prompter.of(loaded.tokenizer, data)

    def hears(label: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(label, done, total) if progress else None

    before = evaluate(loaded.model, prompter, records, device=loaded.device, progress=hears("before"))
    with peft_attached(loaded.model, adapter) as model:
        after = evaluate(model, prompter, records, device=loaded.device, progress=hears("after"))
    return {
        "before": summarize(before),
        "after": summarize(after),
        "difference": compare(before, after),
        "records": len(records),
        "privacy": "exact figures of these records",
    }
