# SPDX-License-Identifier: Apache-2.0
"""An audit of a run: what canaries reveal beside what is claimed, for each schedule of its sites."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Final

from fedpeft.audit.bound import area_under_curve
from fedpeft.audit.canaries import Steps, count_correct, run_canaries
from fedpeft.audit.power import CONTROLS, Design, choose_design, power
from fedpeft.config import RunConfig
from fedpeft.errors import ConfigError
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.randomness import Randomness
from fedpeft.site_plan import SitePlan, steps_as_events
from fedpeft.types import JsonDict

MAX_CLAIM: Final = 2.0
"""Above it so many canaries are needed that an audit finds nothing even where there is no noise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run of canaries revealed.

    Attributes:
        bound: lower bound of epsilon at the confidence of the design.
        correct: right guesses, of ``guesses``.
        area_under_curve: of membership inference by the scores; one half is a coin.
    """

    bound: float
    correct: int
    guesses: int
    area_under_curve: float
    broken: bool


@dataclass(frozen=True, slots=True)
class ScheduleAudit:
    """One schedule.

    Attributes:
        sites: that follow it.
        design: fixed beforehand.
        power: by control, the share of runs that would break the claim, computed beforehand.
        finding: with the noise that is claimed.
        controls: with less noise than claimed, by control.
    """

    sites: tuple[str, ...]
    design: Design
    power: dict[str, float]
    finding: Finding
    controls: dict[str, Finding]


def measure(design: Design, randomness: Randomness, noise_factor: float = 1.0) -> Finding:
    """Run the canaries once through the mechanism.

    Args:
        design: of the audit.
        randomness: for this one run.
        noise_factor: on the multiplier that is accounted; below 1 for a control.
    """
    steps = replace(design.steps, noise_multiplier=noise_factor * design.steps.noise_multiplier)
    seen = run_canaries(steps, design.canaries, randomness)
    correct = count_correct(seen.scores, seen.included, design.guessed_in, design.guessed_out)
    return Finding(
        bound=design.bound(correct),
        correct=correct,
        guesses=design.guesses,
        area_under_curve=area_under_curve(seen.scores, seen.included),
        broken=correct >= design.refuted_from,
    )


def audit(config: RunConfig, *, canaries: int, confidence: float) -> list[ScheduleAudit]:
    """Audit every different schedule of a run; reads no data and no weights of a backbone.

    Where a site's multipliers differ, its steps at the one that costs most are audited, against that cost.

    Args:
        config: of the run; its epsilon at most 2.
        canaries: of each audit.
        confidence: of the bounds, below 1.

    Raises:
        ConfigError: a claim that is too large to be audited.
    """
    if config.privacy.epsilon > MAX_CLAIM:
        raise ConfigError(
            f"privacy.epsilon = {config.privacy.epsilon:g}: must be at most {MAX_CLAIM:g} for an audit, "
            "which could not tell it from no noise; audit the same mechanism with "
            f"--set privacy.epsilon={MAX_CLAIM:g}"
        )
    plan = make_plan(config)
    sites_of: dict[tuple[Steps, float], list[str]] = {}
    for site in plan.sites:
        found = _dearest(config, site)
        sites_of.setdefault(found, []).append(site.name)
    return [
        _audit_schedule(config, tuple(sites), steps, epsilon, canaries, confidence)
        for (steps, epsilon), sites in sites_of.items()
    ]


def _dearest(config: RunConfig, site: SitePlan) -> tuple[Steps, float]:
    """The steps at one multiplier that cost most by themselves, be they of a generator, and what they cost.

    Steps at the smallest multiplier held against the cost of a schedule that varies would break a true claim.
    """
    count: Counter[float] = Counter()
    for multiplier, steps in (*site.before, *site.schedule):
        count[multiplier] += steps
    cost = {
        part: epsilon_pld(steps_as_events([part], site.sampling_rate), config.delta) for part in count.items()
    }
    multiplier, steps = max(cost, key=lambda part: cost[part])
    privacy = config.privacy
    audited = Steps(multiplier, site.sampling_rate, steps, privacy.clipping, privacy.arithmetic)
    return audited, cost[multiplier, steps]


def _audit_schedule(
    config: RunConfig, sites: tuple[str, ...], steps: Steps, epsilon: float, canaries: int, confidence: float
) -> ScheduleAudit:
    design = choose_design(steps, epsilon, config.delta, canaries=canaries, significance=1 - confidence)
    rates = {name: power(design, factor) for name, factor in CONTROLS.items()}
    seed = config.run.seed

    def randomness(name: str) -> Randomness:
        return Randomness.fresh() if seed is None else Randomness.seeded(seed, "audit", sites, name)

    controls = {name: measure(design, randomness(name), factor) for name, factor in CONTROLS.items()}
    return ScheduleAudit(sites, design, rates, measure(design, randomness("claimed")), controls)


def to_json(audited: ScheduleAudit) -> JsonDict:
    """For machines."""
    design = audited.design
    return {
        "sites": list(audited.sites),
        "epsilon": design.epsilon,
        "delta": design.delta,
        "confidence": 1 - design.significance,
        "canaries": design.canaries,
        **asdict(design.steps),
        **asdict(audited.finding),
        "power": audited.power,
        "controls": {name: asdict(finding) for name, finding in audited.controls.items()},
    }
