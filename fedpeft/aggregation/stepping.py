# SPDX-License-Identifier: Apache-2.0
"""From the aggregate of a round to the adapter that the next one begins with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft.aggregation.base import Aggregator, DoubleVector
from fedpeft.aggregation.server_optimizer import OptimizerState, ServerOptimizer, check_step
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.types import FloatVector


@dataclass(frozen=True, slots=True)
class Moved:
    """What a round led to.

    Attributes:
        adapter: ``(D,)`` as the next round's requests carry it.
        optimizer: the server optimizer's memory.
        mean: ``(d,)`` the aggregate as the rule gave it.
    """

    adapter: FloatVector
    optimizer: OptimizerState
    mean: DoubleVector

    @property
    def norm(self) -> float:
        """L2 norm of the aggregate."""
        return math.sqrt(float(self.mean @ self.mean))


def move(
    number: int,
    adapter: FloatVector,
    aggregator: Aggregator,
    noise: DoubleVector,
    smoother: Smoother,
    optimizer: ServerOptimizer,
    memory: Mapping[str, DoubleVector],
) -> Moved:
    """Smooth the aggregate and take the server's step along it; what is carried is the rule's to say.

    Args:
        number: of the round.
        adapter: ``(D,)`` that the round began with.
        aggregator: with all updates of the round.
        noise: ``(d,)`` variance of the noise in their mean.
        smoother: of the aggregate.
        optimizer: of the server.
        memory: of the optimizer.

    Raises:
        FedpeftError: the first round moved no weight, or one is not finite.
    """
    mean = aggregator.result()
    trained, optimized = optimizer.apply(
        adapter[: mean.size], smoother.smooth(mean), smoother.noise_after(noise), memory
    )
    moved = np.concatenate((trained, aggregator.carried_after()))
    check_step(number, adapter, moved)
    return Moved(moved, optimized, mean)
