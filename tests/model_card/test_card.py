# SPDX-License-Identifier: Apache-2.0
"""The card of an adapter: what it says, what it withholds, and that the folder stays a plain peft adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from peft import PeftModel

from fedpeft.config import load_config
from fedpeft.model_card import CARD_FILE, make_card
from fedpeft.testing import run_tiny_federation, tiny_backbone
from simulations.benchmarks.shared.run_folder import write_run


def card_of(folder: Path, config: dict[str, Any] | None = None, **changes: Any) -> str:
    result = write_run(folder, config=config) | changes
    return make_card(load_config(folder / "config.toml"), result)


def test_the_header_is_one_that_the_hub_reads(tmp_path: Path) -> None:
    card = ModelCard(card_of(tmp_path))
    assert card.data.library_name == "peft"
    assert card.data.base_model == "smollm2-135m-instruct"
    assert card.data.pipeline_tag == "text-generation"
    assert {"lora", "differential-privacy", "federated-learning"} <= set(card.data.tags)
    assert card.data.metrics == ["accuracy", "perplexity"]


def test_it_carries_statement_data_and_metrics(tmp_path: Path) -> None:
    result = write_run(tmp_path)
    card = make_card(load_config(tmp_path / "config.toml"), result)
    assert f"> {result['guarantee']}" in card
    assert "| 8.0 | 1e-05 | record | 20 |" in card
    assert "3 organizations" in card
    assert "Declared units: 3,000 in all" in card
    assert "| ranking accuracy | 44.0 % [39.6, 48.4] | 52.0 % [46.8, 57.2] | 8.0 % [7.2, 8.8] |" in card
    assert "add to epsilon and are not counted here" in card
    assert "site-00" not in card  # organizations are not named where the adapter goes


def test_without_a_guarantee_the_statement_is_withheld_with_the_reason(tmp_path: Path) -> None:
    card = card_of(tmp_path, {"run": {"seed": 3}})
    assert "withheld: seeded (run.seed = 3 makes the noise predictable)" in card.replace("\\", "")
    assert "Do not publish it" in card
    assert "differentially private" not in card
    assert "| 8.0 |" not in card
    assert "differential-privacy" not in ModelCard(card).data.tags


def test_exact_figures_of_private_records_are_withheld(tmp_path: Path) -> None:
    metrics = write_run(tmp_path)["metrics"] | {"privacy": "NOT PRIVATE: exact on held-out records"}
    card = card_of(tmp_path, {"evaluation": {"public": False}}, metrics=metrics)
    assert "Withheld: they are exact figures" in card
    assert "44.0 %" not in card
    assert ModelCard(card).data.metrics is None


def test_a_figure_without_an_interval_has_none(tmp_path: Path) -> None:
    """A single record gives no ground for one, and a likelihood of zero no perplexity."""
    metrics = write_run(tmp_path)["metrics"]
    lone = {"value": 0.5, "low": None, "high": None}
    none = {"value": None, "low": None, "high": None}
    metrics["after"] |= {"ranking_accuracy": lone, "perplexity": none}
    card = card_of(tmp_path, metrics=metrics)
    assert "| 50.0 % [-, -] |" in card
    assert "| - |" in card


def test_a_name_from_a_file_is_no_markup(tmp_path: Path) -> None:
    card = card_of(tmp_path, unit="a|b<script>*_[x](y)")
    assert "<script>" not in card
    assert r"a\|b\<script\>\*\_\[x\](y)" in card


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    run_tiny_federation(folder, rounds=1, overrides=["evaluation.private=false"])
    return folder / "run"


def test_a_run_leaves_a_folder_that_plain_peft_loads_and_that_tells_nothing_of_the_machine(
    finished: Path,
) -> None:
    text = (finished / "adapter" / CARD_FILE).read_text("utf-8")
    result = json.loads((finished / "result.json").read_text())
    assert result["guarantee"] in text
    assert ModelCard(text).data.base_model is None  # a folder of this machine is no id
    assert str(finished.parent) not in text
    assert PeftModel.from_pretrained(tiny_backbone().model, str(finished / "adapter"))
    names = {path.name for path in (finished / "adapter").iterdir()}
    assert names == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
