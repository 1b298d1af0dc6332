# SPDX-License-Identifier: Apache-2.0
"""A tiny run beside a file of public rows, where tests of the stages before training begin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpeft.config import RunConfig, load_config
from fedpeft.testing import tiny_config


def write_public(path: Path, num_rows: int = 16) -> None:
    """Rows that differ in words, so that each is of a lineage of its own."""
    words = ["sea", "hill", "cup", "lamp", "door", "river", "stone", "tree"]
    lines = [
        json.dumps(
            {
                "id": f"{i}",
                "instruction": f"Say {words[i % 8]} and {words[i // 8]}.",
                "response": words[i % 8],
                "task": "a",
            }
        )
        for i in range(num_rows)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def config_of(folder: Path, *overrides: str) -> RunConfig:
    """The run in ``folder`` with overrides."""
    return load_config(folder / "run.toml", overrides)


@pytest.fixture(name="folder")
def tiny_run_and_public_rows(tmp_path: Path) -> Path:
    """``run.toml`` with its sites' records, and ``public.jsonl``."""
    tiny_config(tmp_path, num_records=12)
    write_public(tmp_path / "public.jsonl")
    return tmp_path
