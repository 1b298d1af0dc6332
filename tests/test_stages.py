# SPDX-License-Identifier: Apache-2.0
"""What each site is asked to commit, given what it says of itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedpeft.plan import Plan, make_plan
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.events import events_of
from fedpeft.stages import scheduler
from fedpeft.testing import tiny_config
from fedpeft.types import SiteFacts

FACTS = SiteFacts("site0", 40, "record", 20.0, 1e-5, "genesis", crash_reserve=2)


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> tuple[object, Plan]:
    folder: Path = tmp_path_factory.mktemp("run")
    config = tiny_config(folder, num_sites=1, overrides=["privacy.crash_reserve=2", "training.local_steps=3"])
    return config, make_plan(config)


def _schedule(planned, facts: SiteFacts):
    config, plan = planned
    return scheduler(config, plan, "run")({"site0": facts})["site0"]


def test_a_site_that_keeps_no_more_is_asked_for_the_plan(planned) -> None:
    schedule = _schedule(planned, FACTS)
    assert schedule.steps == (2 + 2) * 3
    assert schedule == planned[1].schedule(planned[1].sites[0], "run")


def test_a_site_that_keeps_more_gets_the_steps_and_no_more_budget(planned) -> None:
    config, plan = planned
    schedule = _schedule(planned, replace(FACTS, crash_reserve=5))
    assert schedule.steps == (2 + 5) * 3
    assert epsilon(events_of(schedule), plan.delta) <= config.privacy.epsilon
    assert schedule.noise_multiplier_at(0) > plan.sites[0].noise_multiplier


def test_only_planned_sites_are_asked(planned) -> None:
    config, plan = planned
    assert scheduler(config, plan, "run")({"stranger": FACTS}) == {}
