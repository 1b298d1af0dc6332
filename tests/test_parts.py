# SPDX-License-Identifier: Apache-2.0
"""A site's rank and what rounds carry, wherever a run or its plan looks at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpeft import plan as plan_module
from fedpeft.baselines.unprotected import train_unprotected
from fedpeft.config import RunConfig, load_config
from fedpeft.cost import Lengths
from fedpeft.errors import ConfigError
from fedpeft.generation import _round_plan
from fedpeft.parts import parts_of
from fedpeft.plan import make_plan
from fedpeft.search import Budget, Search
from fedpeft.testing import tiny_config
from fedpeft.tuning import RANK, knobs_of
from fedpeft.workspace import Workspace

NARROW = ("adapter.rank=4", "sites.site0.rank=1", "adapter.layers=[1]")
FEDEX = ('adapter.kind="lora"', 'federation.aggregation="fedex"', "adapter.layers=[1]")


def test_a_plan_counts_what_each_site_trains(tmp_path: Path) -> None:
    narrow = make_plan(tiny_config(tmp_path, overrides=NARROW))
    alike = make_plan(load_config(tmp_path / "run.toml", ["adapter.rank=4", "adapter.layers=[1]"]))
    assert narrow.layout == alike.layout
    assert narrow.bytes_a_round == 4 * alike.layout.size * (2 + 1 + 1 / 4)
    assert narrow.signal_over_noise == pytest.approx(alike.signal_over_noise / ((1 + 1 / 4) / 2) ** 0.5)
    assert [s.noise_multiplier for s in narrow.sites] == [s.noise_multiplier for s in alike.sites]


def test_a_plan_warns_of_what_is_carried_and_refuses_what_no_message_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_config(tmp_path)

    def planned(*more: str) -> tuple[str, ...]:
        return make_plan(load_config(tmp_path / "run.toml", [*FEDEX, *more])).warnings

    assert not any("rounds carry" in line for line in planned("adapter.rank=1", "federation.rounds=2"))
    (line,) = [line for line in planned("adapter.rank=1", "federation.rounds=30") if "rounds carry" in line]
    assert line.startswith("adapter.residual_rank = 30: ")
    monkeypatch.setattr(plan_module, "_MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"a request would have .* fewer than 1,000; lower it"):
        planned()


def test_a_reference_without_noise_trains_what_the_sites_would(tmp_path: Path) -> None:
    overrides = [*NARROW, "sites.site1.rank=1", 'adapter.start="weight"', "run.seed=1"]
    with Workspace(tiny_config(tmp_path, overrides=overrides), tmp_path / "run") as workspace:
        part = workspace.adapter.part(1)
        together = train_unprotected(workspace, "federated")
        pooled = train_unprotected(workspace, "pooled")
    np.testing.assert_array_equal(part.lift(part.take(together)), together)
    assert together.any()
    assert np.count_nonzero(pooled) > np.count_nonzero(together)  # one place trains all directions


def test_rounds_of_a_generator_ask_for_the_same_parts(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=NARROW)
    with Workspace(config, tmp_path / "run") as workspace:
        plan = _round_plan(config, make_plan(config), workspace.adapter, 2)
        assert plan.part("site0") == workspace.adapter.part(1)
        assert plan.part("site1") == workspace.adapter.part(4)
        assert parts_of(config, workspace.adapter).keys() == {"site0"}


def test_settings_for_a_budget_leave_every_site_its_rank(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["adapter.rank=8", "sites.site0.rank=3"])
    free = load_config(tmp_path / "run.toml", ["adapter.rank=8"])
    assert min(_ranks(free)) < 3 <= min(_ranks(config))


def test_a_rank_that_sites_rest_on_is_not_tuned(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["adapter.rank=8", "sites.site0.rank=3"])
    free = load_config(tmp_path / "run.toml", ["adapter.rank=8"])
    assert {knob.key for knob in knobs_of(free)} - {knob.key for knob in knobs_of(config)} == {RANK}


def _ranks(config: RunConfig) -> set[int]:
    budget = Budget(minutes=10.0, speed=1e9, lengths=Lengths(64, 32))
    return {rank for _, rank in Search(config, budget)._sizes()}
