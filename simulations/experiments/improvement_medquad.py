# SPDX-License-Identifier: Apache-2.0
"""What could make `fedpeft` better on MedQuAD, tried on the institute that steps are chosen on.

At epsilon 8 `dp-bitfit` had the better perplexity in Table 1. It trains biases, clips automatically and adds
uniform noise: the trials put the first two into `fedpeft`, take steps between those of the other trials, let
them fall from round to round, and train biases of the residual stream alone. The baseline has the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulations.grid.bases import MEDQUAD, MEDQUAD_DEVELOPMENT, norms_of
from simulations.grid.designs import overrides_of
from simulations.grid.rows import ROWS, System

_FOUR: Final = "adapter.layers=[-4, -3, -2, -1]"
_TWO: Final = "adapter.layers=[-2, -1]"
_AUTOMATIC: Final = 'privacy.clipping="automatic"'
_FALLING: Final = "training.learning_rate_decay=0.7"

_NORMS: Final = {"fedpeft-stream-2": {"bias-stream": 0.032}, "dp-bitfit-4": {"bias": 0.35}}
"""Medians on public records where other blocks are trained than with the rows of Table 1."""


def _bias(*more: str, adapter: str = "bias") -> System:
    return System(adapter, ('method="fedpeft"', _AUTOMATIC, *more))


def _overrides(name: str, system: System, step: float) -> list[str]:
    return overrides_of(system, {}, {**norms_of("medquad"), **_NORMS.get(name, {})}, step)


TRIED: Final[Mapping[str, tuple[System, tuple[float, ...]]]] = {
    "fedpeft-bias": (System("bias", ('method="fedpeft"',)), (0.17, 0.3, 0.5)),
    "fedpeft-bias-automatic": (_bias(), (0.17, 0.3, 0.5, 0.7, 1.0)),
    "fedpeft-bias-falling": (_bias(_FALLING), (0.7, 1.0, 1.5)),
    "fedpeft-stream-2": (_bias(_TWO, adapter="bias-stream"), (0.5, 1.0, 1.5)),
    "fedpeft-stream": (_bias(adapter="bias-stream"), (0.5, 1.0, 1.5, 2.0, 3.0)),
    "fedpeft-automatic": (System("ffa-weight", ('method="fedpeft"', _AUTOMATIC)), (0.7,)),
    "dp-bitfit": (ROWS["dp-bitfit"], (0.17, 0.3, 0.5, 0.7, 1.0)),
    "dp-bitfit-4": (System("bias", (*ROWS["dp-bitfit"].overrides, _FOUR)), (0.7, 1.0, 1.5)),
}
"""By name: what is trained, and lengths of its step."""

EXPERIMENT = {
    "title": "Ways to a better fedpeft on MedQuAD, on development records",
    "base": MEDQUAD,
    "set": [*MEDQUAD_DEVELOPMENT, "privacy.epsilon=8.0"],
    "seeds": [11],
    "reference": "dp-bitfit-step-0.5",
    "metrics": ["ranking_accuracy", "token_accuracy", "perplexity"],
    "minutes": 8.0,
    "cells": [
        {"name": f"{name}-step-{step:g}", "set": _overrides(name, system, step)}
        for name, (system, steps) in TRIED.items()
        for step in steps
    ],
}
