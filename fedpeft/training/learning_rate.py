# SPDX-License-Identifier: Apache-2.0
"""The public learning rate of every round."""

from __future__ import annotations

from fedpeft.settings import TrainingSettings


def learning_rates(settings: TrainingSettings, rounds: int) -> tuple[float, ...]:
    """``learning_rate`` times ``learning_rate_decay`` after every ``learning_rate_every`` rounds."""
    decay, every = settings.learning_rate_decay, settings.learning_rate_every
    return tuple(settings.learning_rate * decay ** (number // every) for number in range(rounds))
