# SPDX-License-Identifier: Apache-2.0
"""Keys about speed and memory: when states are kept, where, and that results stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpeft.speed import share_of_repeats
from fedpeft.testing import tiny_config
from fedpeft.workspace import Workspace


def workspace(folder: Path, *overrides: str) -> Workspace:
    config = tiny_config(folder, overrides=["adapter.layers=[-1]", *overrides])
    return Workspace(config, folder / "run")


def test_states_are_kept_where_records_come_again(tmp_path: Path) -> None:
    with workspace(tmp_path) as often:
        assert often.execution.prefix is not None
        assert often.execution.prefix.num_kept == 0  # the check before the run leaves none of its own
    with workspace(tmp_path, "training.sampling_rate=0.05") as seldom:
        assert seldom.execution.prefix is None
    with workspace(tmp_path, "training.sampling_rate=0.05", 'training.prefix_cache="memory"') as asked:
        assert asked.execution.prefix is not None
    with workspace(tmp_path, 'training.prefix_cache="off"') as off:
        assert off.execution.prefix is None


def test_nothing_is_kept_where_every_block_is_trained(tmp_path: Path) -> None:
    with workspace(tmp_path, 'adapter.layers="all"', 'training.prefix_cache="memory"') as whole:
        assert whole.execution.prefix is None


def test_the_loss_runs_over_the_labels_where_asked(tmp_path: Path) -> None:
    labels = ['evaluation.labels=["a b", "c"]', "evaluation.records=0"]
    with workspace(tmp_path, *labels, 'training.loss_tokens="labels"') as closed:
        ids = {t for label in ("a b", "c") for t in closed.prompter.response_ids(label)}
        assert closed.execution.vocabulary == tuple(sorted(ids))
        assert len(ids) > 1
    with workspace(tmp_path / "all", *labels) as usual:
        assert usual.execution.vocabulary == ()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_run_gives_the_same_adapter_with_kept_states(tmp_path: Path, where: str) -> None:
    from fedpeft.flower.simulation import simulate

    vectors = {}
    for name in ("off", where):
        config = tiny_config(
            tmp_path / name,
            rounds=3,
            overrides=["adapter.layers=[-1]", "run.seed=1", f'training.prefix_cache="{name}"'],
        )
        simulate(config, tmp_path / name / "run")
        vectors[name] = (tmp_path / name / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    kept = [np.frombuffer(vector[-512:], dtype="<f4") for vector in vectors.values()]
    assert np.allclose(*kept, rtol=1e-3, atol=1e-5)
    assert list((tmp_path / where / "run" / "ledger").glob(".states*")) == []


@pytest.mark.parametrize(("rate", "steps"), [(0.1, 10), (0.5, 2), (1.0, 4), (0.01, 3)])
def test_share_of_repeats_is_what_a_simulation_finds(tmp_path: Path, rate: float, steps: int) -> None:
    config = tiny_config(
        tmp_path, rounds=steps, overrides=[f"training.sampling_rate={rate}", "evaluation.records=0"]
    )
    drawn = np.random.default_rng(0).random((steps, 100_000)) < rate
    repeats = 1 - drawn.any(axis=0).sum() / drawn.sum()
    assert share_of_repeats(config) == pytest.approx(repeats, abs=0.01)
