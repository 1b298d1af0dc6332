# SPDX-License-Identifier: Apache-2.0
"""TensorBoard gets what has left the sites, and nothing unless it is asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fedpeft.errors import ConfigError
from fedpeft.flower.simulation import simulate
from fedpeft.reporter import Silence
from fedpeft.stage_settings import RunSettings
from fedpeft.testing import tiny_config
from fedpeft.tracker import TENSORBOARD_FOLDER, check_tracker, tracking

pytest.importorskip("tensorboard", reason="TensorBoard is an extra")

ROUND = {"privacy/epsilon_spent", "round/update_norm", "round/sites", "round/bytes_up"}


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.parametrize("public", [True, False])
def test_a_run_leaves_its_curves(tmp_path: Path, public: bool) -> None:
    overrides = ["run.tensorboard=true", f"evaluation.public={str(public).lower()}"]
    result = simulate(tiny_config(tmp_path, overrides=overrides), tmp_path / "run")
    found = curves(tmp_path / "run" / TENSORBOARD_FOLDER)
    assert found.keys() >= ROUND
    assert [step for step, _ in found["privacy/epsilon_spent"]] == [1, 2]
    assert found["privacy/epsilon_spent"][-1][1] == pytest.approx(result["epsilon_spent"], rel=2e-3)
    # Exact figures of held-out private records have left no site.
    others = found.keys() - ROUND
    assert others == ({f"perplexity/{p}" for p in ("value", "low", "high")} | {
        f"token_accuracy/{p}" for p in ("value", "low", "high")
    } if public else set())  # fmt: skip


def test_it_is_off_by_default(tmp_path: Path) -> None:
    silence = Silence()
    with tracking(RunSettings(), tmp_path, silence, keep_scores=True) as reporter:
        assert reporter is silence
    assert list(tmp_path.iterdir()) == []


def test_it_has_no_ear_for_a_sites_own_steps(tmp_path: Path) -> None:
    with tracking(RunSettings(tensorboard=True), tmp_path, Silence(), keep_scores=True) as reporter:
        assert not hasattr(reporter, "site_step")


def test_where_it_is_not_installed_the_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_tracker(RunSettings())
    with pytest.raises(ConfigError, match=r"run\.tensorboard = true: .*fedpeft\[tensorboard\]"):
        check_tracker(RunSettings(tensorboard=True))
