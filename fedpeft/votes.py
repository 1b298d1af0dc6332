# SPDX-License-Identifier: Apache-2.0
"""What a run releases about every unit beside its steps, and which stages that makes of it."""

from __future__ import annotations

from fedpeft.config import RunConfig
from fedpeft.privacy.accountant import calibrate
from fedpeft.privacy.events import GAUSSIAN
from fedpeft.privacy.histogram import SELECTION, SYNTHESIS
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.privacy.policy import Stage
from fedpeft.selection.budget import asks_sites
from fedpeft.selection.budget import votes_of as selection_votes
from fedpeft.stage_settings import EvaluationSettings
from fedpeft.synthesis.base import find
from fedpeft.synthesis.budget import votes_of as synthesis_votes
from fedpeft.types import PrivacyEvent

Votes = tuple[tuple[str, float, int], ...]
"""``(stage, noise_multiplier, releases)`` of releases about every unit, beside the steps."""


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """What the run asks of a site."""
    generator = config.synthesis.generator
    wanted: dict[Stage, bool] = {
        SYNTHESIS: generator is not None and find(generator).asks_sites,
        SELECTION: asks_sites(config.selection),
        "training": True,
        "evaluation": config.evaluation.private,
    }
    return tuple(stage for stage, is_wanted in wanted.items() if is_wanted)


def votes_of(config: RunConfig, epsilon: float) -> Votes:
    """All releases about every unit, in the order in which they come."""
    synthesis = synthesis_votes(config.synthesis, epsilon, config.delta)
    selection = selection_votes(config.selection, epsilon, config.delta)
    return (*synthesis, *selection, *evaluation_votes(config.evaluation, epsilon, config.delta))


def events_beside(config: RunConfig, votes: Votes) -> tuple[PrivacyEvent, ...]:
    """What an accountant makes of them."""
    return tuple(PrivacyEvent(GAUSSIAN, m, 1.0, n, config.privacy.unit) for _, m, n in votes)


def evaluation_votes(evaluation: EvaluationSettings, epsilon: float, delta: float) -> Votes:
    """The private evaluations of a run: one after the rounds, and one of the untouched backbone if wanted.

    Raises:
        ConfigError: no noise is enough for so small a share.
    """
    if not evaluation.private:
        return ()
    releases = 1 + evaluation.private_before
    multiplier = calibrate(evaluation.epsilon_share * epsilon, delta, 1.0, releases)
    return ((EvaluateRequest.stage, multiplier, releases),)
