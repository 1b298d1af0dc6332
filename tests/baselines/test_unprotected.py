# SPDX-License-Identifier: Apache-2.0
"""Training without privacy is a run less clipping and noise, and out of reach of whoever holds a site."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft.baselines.unprotected import exact_update, train_unprotected
from fedpeft.checkpoint import load
from fedpeft.errors import FedpeftError
from fedpeft.flower.simulation import simulate
from fedpeft.privacy import mechanism as mechanism_module
from fedpeft.privacy.arithmetic import float as float_arithmetic
from fedpeft.privacy.randomness import Randomness
from fedpeft.run import evaluate_state
from fedpeft.testing import loop_gradients, tiny_config
from fedpeft.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["average", "last", "smoothed"])
def workspace(tmp_path: Path, request: pytest.FixtureRequest):
    # Integers could not hold sums of unclipped gradients, which a test makes below.
    overrides = ["run.seed=1", "training.sampling_rate=1.0", 'privacy.arithmetic="float"']
    overrides += ["federation.average_iterates=false"] if request.param == "last" else []
    overrides += ["federation.layer_smoothing=1.0"] if request.param == "smoothed" else []
    config = tiny_config(tmp_path, overrides=overrides)
    with Workspace(config, tmp_path / "run") as made:
        yield made


def test_an_update_is_the_mean_gradient_of_one_at_a_time_autograd(workspace: Workspace) -> None:
    units = dict(list(workspace.data["site0"].units.items())[:5])
    start = (0.05 * np.random.default_rng(0).standard_normal(workspace.adapter.layout.size)).astype(
        np.float32
    )
    update = exact_update(workspace, units, start, 8.0, Randomness.seeded(0))
    examples = [example for unit in units.values() for example in unit]
    gradients = [loop_gradients(workspace.adapter, start, example) for example in examples]
    summed = sum(torch.cat([part.flatten() for part in gradient]) for gradient in gradients).numpy()
    np.testing.assert_allclose(
        update, -workspace.config.training.learning_rate * summed / 8.0, rtol=1e-3, atol=1e-6
    )


def test_without_clipping_and_noise_a_run_would_do_the_same(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole round loop of a run, its clip factors 1 and its noise 0, against ours."""
    ours = train_unprotected(workspace, "federated")
    workspace.close()
    monkeypatch.setattr(
        mechanism_module,
        "clip_factors",
        lambda g, scales, clipping, bound: torch.ones(len(g[0]), dtype=torch.float64),
    )
    monkeypatch.setattr(float_arithmetic, "standard_normal", lambda stream, size: np.zeros(size))
    simulate(workspace.config, tmp_path / "stripped")
    averaged = workspace.config.federation.average_iterates
    theirs = load(tmp_path / "stripped" / "checkpoint").released(averaged=averaged)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-6)


def test_with_one_local_step_pooled_is_federated(workspace: Workspace) -> None:
    """At rate 1 both use every unit, and weights are the expected batches."""
    pooled, federated = (train_unprotected(workspace, kind) for kind in ("pooled", "federated"))
    np.testing.assert_allclose(pooled, federated, rtol=1e-3, atol=1e-6)
    assert np.abs(pooled).max() > 0


def test_with_several_local_steps_they_differ(tmp_path: Path) -> None:
    overrides = ["run.seed=1", "training.sampling_rate=1.0", "training.local_steps=3"]
    with Workspace(tiny_config(tmp_path, overrides=overrides), tmp_path / "run") as workspace:
        pooled, federated = (train_unprotected(workspace, kind) for kind in ("pooled", "federated"))
    assert np.abs(pooled - federated).max() > 1e-5


def test_it_learns(tmp_path: Path) -> None:
    overrides = ["federation.rounds=15", "training.learning_rate=5.0"]
    with Workspace(tiny_config(tmp_path, overrides=overrides), tmp_path / "run") as workspace:
        rounds: list[tuple[int, int]] = []
        state = train_unprotected(workspace, "federated", lambda *now: rounds.append(now))

        class Deaf:
            def evaluating(self, *_: object) -> None: ...

        before = evaluate_state(workspace, workspace.adapter.zeros(), "before", Deaf())
        after = evaluate_state(workspace, state, "after", Deaf())
    assert rounds == [(i, 15) for i in range(1, 16)]
    assert after.log_likelihood.sum() > before.log_likelihood.sum() + 1


def test_a_step_that_is_too_large_is_told(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["training.learning_rate=1e38", "federation.rounds=4"])
    with (
        Workspace(config, tmp_path / "run") as workspace,
        np.errstate(all="ignore"),
        pytest.raises(FedpeftError, match="not finite"),
    ):
        train_unprotected(workspace, "federated")


def _importers(folder: str) -> set[str]:
    """Files below ``folder`` that name the baselines in an import, wherever in the file."""
    found = set()
    for file in sorted((ROOT / folder).glob("**/*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += (
                [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            )
            names += (
                [f"{names[0]}.{alias.name}" for alias in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(name.startswith("fedpeft.baselines") for name in names):
                found.add(file.relative_to(ROOT).as_posix())
    return found


def test_nothing_that_a_site_or_coordinator_runs_can_reach_it() -> None:
    outside = {path for path in _importers("fedpeft") if not path.startswith("fedpeft/baselines/")}
    assert outside == {"fedpeft/cli/simulate.py", "fedpeft/cli/resume.py", "fedpeft/cli/progress.py"}
    assert _importers("client") == _importers("server") == set()
