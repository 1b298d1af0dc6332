# SPDX-License-Identifier: Apache-2.0
"""10,000 rounds in 200 distinct noise multipliers: seconds to compose them, and for each question afterwards.

A question: epsilon after one more round, with a multiplier that was met before. The bars are 30 s and 50 ms.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from fedpeft.privacy.accountant import Composition
from fedpeft.types import PrivacyEvent

_ROUNDS, _DISTINCT, _QUESTIONS, _RATE, _DELTA = 10_000, 200, 50, 0.02, 1e-6


def run() -> dict[str, Any]:
    """Compose, then ask."""
    multipliers = np.geomspace(1.0, 4.0, _DISTINCT)
    events = [
        PrivacyEvent("poisson-gaussian", float(multipliers[i % _DISTINCT]), _RATE, 1, "record")
        for i in range(_ROUNDS)
    ]
    started = perf_counter()
    composition = Composition(events)
    epsilon = composition.epsilon(_DELTA)
    seconds = perf_counter() - started
    times = []
    for event in events[:_QUESTIONS]:
        started = perf_counter()
        composition.add(event)
        composition.epsilon(_DELTA)
        times.append(perf_counter() - started)
    return {
        "rounds": _ROUNDS,
        "distinct_multipliers": _DISTINCT,
        "epsilon": epsilon,
        "seconds_to_compose": seconds,
        "milliseconds_a_question": {
            "median": 1000 * float(np.median(times)),
            "largest": 1000 * max(times),
        },
    }
