# SPDX-License-Identifier: Apache-2.0
"""How the server moves the adapter along the aggregate of a round.

Sites run plain SGD without state, because private state would have to be private itself. What carries
memory from round to round lives here: it is a function of releases only. Optimizers are pure: state goes
in as plain arrays and comes out as plain arrays, which the checkpoint keeps.

Reddi et al. (2021), "Adaptive federated optimization", https://arxiv.org/abs/2003.00295, with decay apart
from the gradient as in Loshchilov and Hutter (2019), https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from fedpeft.aggregation.base import DoubleVector
from fedpeft.errors import ConfigError, FedpeftError
from fedpeft.settings import FederationSettings
from fedpeft.types import FloatVector

OptimizerState = dict[str, DoubleVector]
"""Named float64 arrays; empty before the first round."""

ADAM_BETA2 = 0.99
ADAM_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class ServerOptimizer(ABC):
    """u <- (1 - learning_rate * decay) u + learning_rate * direction.

    Attributes:
        learning_rate: of the server; 1 takes the aggregate as it is.
        decay: lambda1, which shrinks the whole vector in every round, trained or not. For an isometric
            adapter it is the gradient of lambda1/2 ||P(u)||^2, taken at the server, where it costs no clip
            budget.
    """

    learning_rate: float
    decay: float

    def apply(
        self,
        adapter: FloatVector,
        mean: DoubleVector,
        noise: DoubleVector,
        state: Mapping[str, DoubleVector],
    ) -> tuple[FloatVector, OptimizerState]:
        """The adapter after a round and the state after it; neither argument is changed.

        Args:
            adapter: ``(d,)`` float32.
            mean: ``(d,)`` float64, the aggregate of the updates: a descent step, not a gradient.
            noise: ``(d,)`` the known variance of the noise in it.
            state: what the last call returned.
        """
        direction, new_state = self.direction(mean, noise, state)
        kept = 1 - self.learning_rate * self.decay
        moved = kept * adapter.astype(np.float64) + self.learning_rate * direction
        return moved.astype(np.float32), new_state

    @abstractmethod
    def direction(
        self, mean: DoubleVector, noise: DoubleVector, state: Mapping[str, DoubleVector]
    ) -> tuple[DoubleVector, OptimizerState]:
        """Where to go, before the learning rate, and the state after it."""


@final
@dataclass(frozen=True, slots=True)
class Sgd(ServerOptimizer):
    """The aggregate itself: with learning rate 1, federated averaging."""

    def direction(
        self, mean: DoubleVector, noise: DoubleVector, state: Mapping[str, DoubleVector]
    ) -> tuple[DoubleVector, OptimizerState]:
        """``mean``."""
        del noise, state  # the optimizer without memory
        return mean, {}


@final
@dataclass(frozen=True, slots=True)
class Momentum(ServerOptimizer):
    """Heavy ball: m <- beta m + mean."""

    beta: float

    def direction(
        self, mean: DoubleVector, noise: DoubleVector, state: Mapping[str, DoubleVector]
    ) -> tuple[DoubleVector, OptimizerState]:
        """``m``."""
        del noise
        moment = self.beta * state.get("moment", np.zeros_like(mean)) + mean
        return moment, {"moment": moment}


@final
@dataclass(frozen=True, slots=True)
class Adam(ServerOptimizer):
    """Adam on aggregates without the noise in its second moment; beta2 0.99 and epsilon 1e-8.

    The second moment of a noisy aggregate is that of the signal plus the variance of the noise, which is
    known and mostly the larger: left in, every step would be momentum divided by the noise level (Tang et al.
    2024, DP-AdamBC, https://arxiv.org/abs/2312.14334). It is subtracted. What is left is uncertain by the
    spread that the moment has under noise alone, so that spread is the least it is taken for: a coordinate
    never gets a step for having been quiet by chance. Without noise this is Adam.
    """

    beta: float

    def direction(
        self, mean: DoubleVector, noise: DoubleVector, state: Mapping[str, DoubleVector]
    ) -> tuple[DoubleVector, OptimizerState]:
        """First moment over the root of the second, both corrected for their start at zero."""
        zeros = np.zeros_like(mean)
        step = state.get("step", np.zeros(1)) + 1
        first = self.beta * state.get("first", zeros) + (1 - self.beta) * mean
        second = ADAM_BETA2 * state.get("second", zeros) + (1 - ADAM_BETA2) * mean * mean
        noises = ADAM_BETA2 * state.get("noise", zeros) + (1 - ADAM_BETA2) * noise
        count = int(step[0])
        unbiased = first / (1 - self.beta**count)
        start = 1 - ADAM_BETA2**count
        spread = _spread(count) * noises / start
        scale = np.sqrt(np.maximum((second - noises) / start, spread)) + ADAM_EPSILON
        return unbiased / scale, {"step": step, "first": first, "second": second, "noise": noises}


def _spread(count: int) -> float:
    """Standard deviation of the running second moment of noise, over the variance of the noise.

    A square of noise of variance n has standard deviation sqrt(2) n; the moment is a mean with weights w_i of
    sum 1, and sum w_i^2 = (1 - beta2) (1 + beta2^t) / ((1 + beta2) (1 - beta2^t)).
    """
    power = ADAM_BETA2**count
    return math.sqrt(2 * (1 - ADAM_BETA2) * (1 + power) / ((1 + ADAM_BETA2) * (1 - power)))


def make_server_optimizer(settings: FederationSettings) -> ServerOptimizer:
    """The optimizer that ``[federation]`` names.

    Raises:
        ConfigError: the decay of one round would remove the whole adapter or turn it round.
    """
    learning_rate, decay = settings.server_learning_rate, settings.lambda1
    if learning_rate * decay >= 1:
        raise ConfigError(
            f"federation.lambda1: {decay!r} times server_learning_rate {learning_rate!r} must be below 1, "
            "or a round removes the whole adapter; choose a smaller lambda1"
        )
    match settings.server_optimizer:
        case "sgd":
            return Sgd(learning_rate, decay)
        case "momentum":
            return Momentum(learning_rate, decay, settings.server_momentum)
        case "adam":
            return Adam(learning_rate, decay, settings.server_momentum)


def check_step(number: int, before: FloatVector, after: FloatVector) -> None:
    """Fail loudly where a round did nothing, or nothing that can be used.

    Args:
        number: of the round.
        before: ``(d,)`` the adapter before it.
        after: ``(d,)`` and after it.

    Raises:
        FedpeftError: the first round moved no weight, or a weight is not finite.
    """
    keys = "training.learning_rate or federation.server_learning_rate"
    if number == 1 and np.array_equal(before, after):
        raise FedpeftError(
            f"adapter: the first round changed no weight, so only budget is spent; raise {keys}"
        )
    if not np.isfinite(after).all():
        raise FedpeftError(f"adapter: round {number} made weights that are not finite; lower {keys}")
