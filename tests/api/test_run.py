# SPDX-License-Identifier: Apache-2.0
"""A run as an object: its account, its figures, its adapter as a model of the usual libraries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import fedpeft
from fedpeft.backbone.loading import load_backbone

PROMPT = "Say the colour of thing 3."


@pytest.fixture
def run(workplace: Path) -> fedpeft.Run:
    """The finished run."""
    return fedpeft.open_run("runs/earlier")


def test_it_says_where_it_is_and_what_it_spent(run: fedpeft.Run) -> None:
    spent = run.result["epsilon_spent"]
    account = f"2 sites, epsilon 8, delta 1e-05, unit record, spent {spent:.4f}"
    told = f"<Run runs/earlier: completed after 2 rounds, {account}"
    assert repr(run).startswith(told)
    after = run.metrics["after"]["perplexity"]["value"]
    assert repr(run).endswith(f"-> {after:.2f}>")
    assert run.guarantee == run.result["guarantee"]


def test_its_model_is_the_backbone_with_the_adapter(run: fedpeft.Run) -> None:
    """As ``peft`` alone gives it, and the backbone that other runs share is left alone."""
    model = run.model()
    assert isinstance(model, PeftModel)
    assert not model.training
    tokens = run.tokenizer()(PROMPT, return_tensors="pt")
    backbone = AutoModelForCausalLM.from_pretrained(run.config.model.backbone)
    with torch.no_grad():
        untouched = backbone(**tokens).logits
        expected = PeftModel.from_pretrained(backbone, str(run.adapter)).eval()(**tokens).logits
        found = model(**tokens).logits
        shared = load_backbone(run.config.model).model(**tokens).logits
    torch.testing.assert_close(found, expected)
    assert (found - untouched).abs().max() > 1e-4
    torch.testing.assert_close(shared, untouched)


def test_its_model_can_be_changed_and_saved_as_ever(run: fedpeft.Run, tmp_path: Path) -> None:
    model = run.model()
    model.save_pretrained(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "adapter_model.safetensors").keys() == (
        load_file(run.adapter / "adapter_model.safetensors").keys()
    )
    merged = model.merge_and_unload()
    merged.lm_head.weight.data.zero_()
    assert load_backbone(run.config.model).model.lm_head.weight.abs().max() > 0


def test_it_evaluates_as_the_command_does(run: fedpeft.Run) -> None:
    found = run.evaluate("test.jsonl", records=5)
    assert found["records"] == 5
    assert found["difference"]["perplexity"]["value"] != 0


def test_a_ledger_that_was_changed_is_seen(run: fedpeft.Run) -> None:
    assert [report.ok for report in run.ledgers] == [True, True]
    (run.folder / "ledger" / "site0.sqlite").write_bytes(b"not a ledger")
    assert not run.verify()


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_damaged_result_is_told(run: fedpeft.Run, content: bytes) -> None:
    (run.folder / "result.json").write_bytes(content)
    with pytest.raises(
        fedpeft.RunDirectoryError, match=r"result\.json: cannot be read .*; restore it, or run"
    ):
        fedpeft.open_run(run.folder)


def test_an_interrupted_run_is_not_finished(run: fedpeft.Run) -> None:
    path = run.folder / "result.json"
    path.write_text(json.dumps(run.result | {"stopped_because": "interrupted"}), "utf-8")
    assert not fedpeft.open_run(run.folder).is_finished


def test_another_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(fedpeft.RunDirectoryError, match=r"has no config\.toml, so it is not a run; name a"):
        fedpeft.open_run(tmp_path)
