# SPDX-License-Identifier: Apache-2.0
"""The card at an organization: privacy is its own ledger's, and no text of a coordinator gets into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from fedpeft.config import RunConfig
from fedpeft.model_card import make_delivered_card
from fedpeft.privacy.ledger import Commitment, PolicyLife
from fedpeft.testing import tiny_config
from simulations.benchmarks.shared.run_folder import write_run

LIFE = PolicyLife(
    "site0", "record", 8.0, 1e-5,
    (Commitment("before", "training", 2.0, 2e-6), Commitment("run", "training", 3.0000004, 4e-6)),
)  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return tiny_config(tmp_path, num_sites=1, overrides=["privacy.epsilon=7.5"])


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    return write_run(tmp_path / "run")


def card_of(config: RunConfig, result: Any, run_id: str = "run", life: PolicyLife = LIFE, **more: Any) -> str:
    text = result if isinstance(result, bytes) else json.dumps(result).encode()
    return make_delivered_card(
        config, life, run_id, text, backbone="some/backbone", trainable_parameters=1234, **more
    )


def test_the_sentence_is_of_what_the_ledger_set_aside(config: RunConfig, result: dict[str, Any]) -> None:
    card = card_of(config, result)
    assert (
        "> Everything this organization sent in this run is (3.00001, 4e-06)-differentially private" in card
    )
    assert "| this run | 3.00001 | 4e-06 | record |" in card
    assert "| all runs when this came, this one included | 5.00001 | 6e-06 | record |" in card
    assert "whole life | 7.5 |" in card  # the policy as it is now, which is below what the ledger began under
    assert result["guarantee"] not in card
    assert ModelCard(card).data.base_model == "some/backbone"
    assert "differential-privacy" in ModelCard(card).data.tags


def test_what_the_coordinator_says_of_privacy_changes_nothing(
    config: RunConfig, result: dict[str, Any]
) -> None:
    lie = result | {"guarantee": "(0.1, 0)-private", "epsilon": 0.1, "delta": 0.0, "unit": "patient"}
    assert card_of(config, lie) == card_of(config, result)


def test_its_own_settings_stand_in_it(tmp_path: Path, result: dict[str, Any]) -> None:
    changes = ['privacy.arithmetic="float"', 'model.dtype="bfloat16"']
    card = card_of(tiny_config(tmp_path, num_sites=1, overrides=changes), result)
    assert "Rounding in bfloat16" in card
    assert "floating-point attacks" in card
    assert "Declared units here: 40." in card


@pytest.mark.parametrize(("run_id", "trial"), [("run", True), ("seeded-1", False)])
def test_a_trial_of_one_user_and_a_seeded_run_promise_nothing(
    config: RunConfig, result: dict[str, Any], run_id: str, trial: bool
) -> None:
    life = PolicyLife("site0", "record", 8.0, 1e-5, (Commitment(run_id, "training", 3.0, 4e-6),))
    card = card_of(config, result, run_id, life, one_user_trial=trial)
    assert "No privacy statement" in card
    assert "differentially private" not in card
    assert "| this run |" not in card
    assert "differential-privacy" not in ModelCard(card).data.tags


def test_a_run_of_another_ledger_has_no_card(config: RunConfig, result: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'other': is not in the ledger of site0"):
        card_of(config, result, "other")


def test_public_figures_are_shown_as_the_coordinators(config: RunConfig, result: dict[str, Any]) -> None:
    card = card_of(config, result)
    assert "as the coordinator reports them" in card
    assert "| ranking accuracy | 44.0 % [39.6, 48.4] | 52.0 % [46.8, 57.2] | 8.0 % [7.2, 8.8] |" in card


MARKUP = "</td><script>alert(1)</script>"


@pytest.mark.parametrize(
    "change",
    [
        {"before": None},
        {"before": {MARKUP: {"value": 1.0, "low": 1.0, "high": 1.0}}},
        {"after": {}},
        {"records": MARKUP},
        {"records": 0},
        {"privacy": "NOT PRIVATE: exact on held-out records"},
        {"privacy": MARKUP},
        {"difference": MARKUP},
        {"before": {"perplexity": {"value": MARKUP, "low": 1.0, "high": 1.0}}},
        {"before": {"perplexity": {"value": 1e300, "low": 1.0, "high": 1.0}}},
    ],
)
def test_what_are_no_public_figures_is_not_shown(
    config: RunConfig, result: dict[str, Any], change: dict[str, Any]
) -> None:
    card = card_of(config, result | {"metrics": result["metrics"] | change})
    assert "None that can be shown here" in card
    assert "script" not in card
    assert "44.0 %" not in card


@pytest.mark.parametrize("result_file", [b"{}", b"[]", b"", b"\xff", b"[" * 10_000, b'{"metrics": NaN}'])
def test_a_result_that_is_none_leaves_the_statement_alone(config: RunConfig, result_file: bytes) -> None:
    card = card_of(config, result_file)
    assert "(3.00001, 4e-06)-differentially private" in card
    assert "None that can be shown here" in card
