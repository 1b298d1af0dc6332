# SPDX-License-Identifier: Apache-2.0
"""Lengths of real records, as pairs of tokens in all and tokens of the prompt.

``lengths.json`` beside this file holds a random sample of MedQuAD's records and of SST-2's training
sentences (both public) in SmolLM2's tokens and chat template, cut to 256. So a benchmark needs neither data
set, and has the same lengths everywhere. ``python -m simulations.benchmarks.shared.lengths FOLDER`` draws
it anew from the folder that holds ``medquad/*.jsonl`` and ``sst2/sst2_train.jsonl``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedpeft.data.prompts import Example

MAX_LENGTH = 256
_SAMPLE = 4096
_FILE = Path(__file__).with_name("lengths.json")
_SOURCES = {"medquad": "medquad/*.jsonl", "sst2": "sst2/sst2_train.jsonl"}

Lengths = list[tuple[int, int]]


def read_lengths(source: str) -> Lengths:
    """The sample of ``medquad`` or ``sst2``: ``(tokens, tokens of the prompt)`` of each record."""
    stored = json.loads(_FILE.read_text(encoding="utf-8"))[source]
    return [(tokens, prompt) for tokens, prompt in stored]


def draw(source: str, count: int, seed: int) -> Lengths:
    """``count`` records of the sample, without repetition."""
    lengths = read_lengths(source)
    chosen = np.random.default_rng(seed).choice(len(lengths), count, replace=False)
    return [lengths[i] for i in chosen]


def examples_of(lengths: Sequence[tuple[int, int]], vocabulary: int, seed: int = 0) -> list[Example]:
    """Examples of random tokens with these lengths."""
    random = np.random.default_rng(seed)
    return [
        Example(random.integers(0, vocabulary, tokens).astype(np.int32), prompt, truncated=False)
        for tokens, prompt in lengths
    ]


def main(folder: Path) -> None:
    """Draw the sample and write it."""
    from fedpeft.backbone.loading import load_backbone
    from fedpeft.data.prompts import Prompter
    from fedpeft.settings import ModelSettings

    tokenizer = load_backbone(ModelSettings()).tokenizer
    prompter = Prompter(tokenizer, max_length=MAX_LENGTH, system_prompt=False)
    stored: dict[str, list[list[int]]] = {}
    for source, pattern in _SOURCES.items():
        lines = [line for path in sorted(folder.glob(pattern)) for line in path.open(encoding="utf-8")]
        chosen = np.random.default_rng(0).choice(len(lines), _SAMPLE, replace=False)
        records = [json.loads(lines[i]) for i in chosen]
        examples = [prompter.encode(record["instruction"], record["response"]) for record in records]
        stored[source] = [[example.ids.size, example.num_prompt] for example in examples]
    _FILE.write_text(json.dumps(stored, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
