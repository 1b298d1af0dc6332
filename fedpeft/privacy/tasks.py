# SPDX-License-Identifier: Apache-2.0
"""Task weights: units of a task are clipped to less, inside the one release, so that less is told of them.

A unit of task k adds at most sqrt(alpha_k) to a sum whose noise is made for 1, so every step is, for that
unit, a release of multiplier sigma / sqrt(alpha_k). The largest weight is 1, whose epsilon is the claim. The
proof stands in ``docs/privacy.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.events import MAX_NOISE_MULTIPLIER, POISSON_GAUSSIAN
from fedpeft.types import PrivacyEvent, TaskWeights

_ROUNDING_TO_A_GRID = 2.0**-40
"""Times the root of d and the multiplier: the most that rounding to integers adds to a unit's norm."""


@dataclass(frozen=True, slots=True)
class UnitWeights:
    """The weights of a run, and of each unit of one site. Private, as it names units.

    Attributes:
        by_task: as every request must state them; empty where units are all alike.
        of_unit: the weight of each unit's task.
    """

    by_task: TaskWeights = ()
    of_unit: Mapping[str, float] = field(default_factory=dict)

    def bounds(self, units: Iterable[str]) -> dict[float, list[str]]:
        """Units by what they are clipped to; the largest bound first."""
        grouped: dict[float, list[str]] = {}
        for unit in units:
            grouped.setdefault(math.sqrt(self.of_unit[unit]) if self.by_task else 1.0, []).append(unit)
        return dict(sorted(grouped.items(), reverse=True))


def are_weights(weights: TaskWeights) -> bool:
    """Whether they are none, or a weight in (0, 1] for each of some different tasks, the largest 1."""
    tasks, numbers = [task for task, _ in weights], [weight for _, weight in weights]
    in_range = all(0 < weight <= 1 for weight in numbers)  # no NaN is
    return in_range and len(set(tasks)) == len(tasks) and (not numbers or max(numbers) == 1)


def epsilon_by_task(
    weights: TaskWeights,
    parts: Sequence[tuple[float, int]],
    sampling_rate: float,
    delta: float,
    dimensions: int,
) -> dict[str, float]:
    """For each task, epsilon of adding or removing one of its units, by PLD.

    Args:
        weights: of the tasks.
        parts: ``(noise_multiplier, steps)`` of all steps.
        sampling_rate: of every step.
        delta: of each figure.
        dimensions: d, numbers of a release; rounding them to integers is part of the figure.
    """
    return {
        task: epsilon_pld([_event(weight, part, sampling_rate, dimensions) for part in parts], delta)
        for task, weight in weights
    }


def _event(weight: float, part: tuple[float, int], sampling_rate: float, dimensions: int) -> PrivacyEvent:
    multiplier, steps = part
    if weight < 1:
        rounding = _ROUNDING_TO_A_GRID * math.sqrt(dimensions) * multiplier
        multiplier = max(multiplier / (math.sqrt(weight) + rounding), multiplier)
    return PrivacyEvent(
        POISSON_GAUSSIAN, min(multiplier, MAX_NOISE_MULTIPLIER), sampling_rate, steps, "record"
    )
