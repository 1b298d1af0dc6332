# SPDX-License-Identifier: Apache-2.0
"""Audits of the real mechanism at a claim of 2: never broken as it is, broken with less noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpeft.audit.bound import epsilon_lower_bound
from fedpeft.audit.canaries import Steps, count_correct, run_canaries, run_single_sum
from fedpeft.audit.power import CONTROLS, choose_design, power
from fedpeft.audit.report import audit, measure, to_json
from fedpeft.errors import ConfigError
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import calibrate, epsilon_pld
from fedpeft.privacy.randomness import Randomness
from fedpeft.testing import tiny_config
from fedpeft.types import PrivacyEvent

EPSILON = 2.0


def design_of(arithmetic: str, sampling_rate: float, steps: int, delta: float, canaries: int):
    multiplier = calibrate(EPSILON, delta, sampling_rate, steps)
    audited = Steps(multiplier, sampling_rate, steps, arithmetic=arithmetic)
    return choose_design(audited, EPSILON, delta, canaries=canaries, significance=0.001)


@pytest.mark.parametrize("arithmetic", ["float", "grid"])
@pytest.mark.parametrize(
    ("sampling_rate", "steps", "delta", "canaries"), [(1.0, 1, 1e-5, 600), (0.5, 4, 1e-6, 1500)]
)
def test_the_claim_holds_and_the_controls_break_it(
    arithmetic: str, sampling_rate: float, steps: int, delta: float, canaries: int
) -> None:
    design = design_of(arithmetic, sampling_rate, steps, delta, canaries)
    assert power(design, 1.0) == 0.0
    rates = {name: power(design, factor) for name, factor in CONTROLS.items()}
    assert min(rates.values()) > 0.8  # stated before the mechanism runs
    seeds = [Randomness.seeded(seed, arithmetic) for seed in range(5)]
    assert not any(measure(design, seed).broken for seed in seeds)
    for factor in CONTROLS.values():
        findings = [measure(design, seed, factor) for seed in seeds]
        assert sum(finding.broken for finding in findings) >= 3
        assert np.median([finding.bound for finding in findings]) > EPSILON
        assert all(finding.broken == (finding.bound >= EPSILON) for finding in findings)


@pytest.mark.parametrize("arithmetic", ["float", "grid"])
def test_half_of_a_known_epsilon_is_found(arithmetic: str) -> None:
    """A single Gaussian release, 100,000 canaries of which 400 are guessed, confidence 95 %."""
    true = epsilon_pld([PrivacyEvent("gaussian", 2.0, 1.0, 1, "canary")], 1e-6)
    bounds = []
    for seed in range(5):
        scores, included = run_single_sum(2.0, 100_000, Randomness.seeded(seed), arithmetic)
        correct = count_correct(scores, included, 200, 200)
        bounds.append(epsilon_lower_bound(100_000, 400, correct, 1e-6, 0.05))
    assert max(bounds) < true
    assert np.median(bounds) > true / 2


def test_without_noise_membership_is_plain() -> None:
    steps = Steps(2.0**-20, 1.0, 1)
    seen = run_canaries(steps, 300, Randomness.seeded(1))
    assert np.array_equal(seen.scores > 0.5, seen.included)
    assert 90 < seen.included.sum() < 210
    assert seen.event.steps == 1
    assert count_correct(seen.scores, seen.included, 80, 80) == 160


def test_a_canary_adds_the_largest_contribution_there_is() -> None:
    seen = run_canaries(Steps(2.0**-20, 1.0, 3), 50, Randomness.seeded(2))
    np.testing.assert_allclose(seen.scores[seen.included], 3.0, rtol=1e-3)
    np.testing.assert_allclose(seen.scores[~seen.included], 0.0, atol=1e-3)


def test_sampled_canaries_enter_at_the_rate() -> None:
    seen = run_canaries(Steps(2.0**-20, 0.25, 40), 400, Randomness.seeded(3))
    assert seen.scores[seen.included].mean() == pytest.approx(10, rel=0.05)


def test_a_run_is_audited_by_schedule(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["privacy.epsilon=2", "run.seed=1", "sites.site1.epsilon=1"])
    audits = audit(config, canaries=200, confidence=0.999)
    assert [one.sites for one in audits] == [("site0",), ("site1",)]
    assert not any(one.finding.broken for one in audits)
    assert audits[0].design.steps.noise_multiplier < audits[1].design.steps.noise_multiplier
    assert all(one.design.steps.steps == config.federation.rounds for one in audits)
    data = to_json(audits[0])
    assert data["epsilon"] <= 2
    assert set(data["power"]) == set(data["controls"]) == set(CONTROLS)


@pytest.mark.parametrize(
    "overrides",
    [
        ['privacy.schedule="step-decay"', "privacy.schedule_decay=0.8"],
        [
            "synthesis.generator=generator",
            "synthesis.rounds=3",
            "synthesis.size=12",
            "privacy.crash_reserve=2",
        ],
    ],
    ids=["a schedule", "a generator"],
)
def test_steps_of_several_multipliers_are_held_against_their_own_cost(
    tmp_path: Path, overrides: list[str]
) -> None:
    """Not all steps at the smallest multiplier against the cost of the plan, which is less than theirs."""
    config = tiny_config(tmp_path, rounds=4, overrides=["privacy.epsilon=2", "run.seed=1", *overrides])
    (found,) = audit(config, canaries=200, confidence=0.999)
    steps = found.design.steps
    event = PrivacyEvent(
        "poisson-gaussian", steps.noise_multiplier, steps.sampling_rate, steps.steps, "record"
    )
    assert found.design.epsilon == epsilon_pld([event], config.delta)
    site = make_plan(config).sites[0]
    parts = (*site.before, *site.schedule)
    assert len({multiplier for multiplier, _ in parts}) > 1
    assert steps.steps == sum(n for m, n in parts if m == steps.noise_multiplier)
    assert found.design.epsilon < 2
    assert not found.finding.broken


def test_a_claim_that_cannot_be_audited_is_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, overrides=["privacy.epsilon=8"])
    with pytest.raises(ConfigError, match=r"privacy.epsilon = 8.*--set privacy.epsilon=2"):
        audit(config, canaries=200, confidence=0.999)
