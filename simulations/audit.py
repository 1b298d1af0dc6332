# SPDX-License-Identifier: Apache-2.0
"""Audits of the mechanism with seeds, at a claim of 2, and how near the bound comes to a known epsilon.

``python -m simulations.audit [--seeds N] [--save]``. First the power is computed from the textbook formula;
then, for either arithmetic and two schedules, the real mechanism runs with each seed: as claimed, with a
quarter of the noise, with none. Last a single Gaussian release whose exact epsilon is known is audited.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from fedpeft.audit.bound import epsilon_lower_bound
from fedpeft.audit.canaries import Steps, count_correct, run_single_sum
from fedpeft.audit.power import CONTROLS, Design, choose_design, power
from fedpeft.audit.report import measure
from fedpeft.privacy.accountant import calibrate, epsilon_pld
from fedpeft.privacy.randomness import Randomness
from fedpeft.types import PrivacyEvent
from simulations.benchmarks.shared.measure import machine

CLAIM, SIGNIFICANCE = 2.0, 0.001
SCHEDULES = ((1.0, 1, 1e-5, 1000), (0.2, 20, 1e-6, 2000))
"""Sampling rate, steps, delta, canaries."""
KNOWN_MULTIPLIER, KNOWN_DELTA, KNOWN_CANARIES, KNOWN_GUESSES, KNOWN_SEEDS = 2.0, 1e-8, 1_000_000, 1000, 5
RESULT = Path(__file__).parent / "results" / "audit.json"


def audit_claim(
    arithmetic: str, sampling_rate: float, steps: int, delta: float, canaries: int, seeds: int
) -> dict[str, object]:
    """One schedule at the claim, all seeds."""
    multiplier = calibrate(CLAIM, delta, sampling_rate, steps)
    design = choose_design(
        Steps(multiplier, sampling_rate, steps, arithmetic=arithmetic),
        CLAIM,
        delta,
        canaries=canaries,
        significance=SIGNIFICANCE,
    )
    factors = {"claimed": 1.0, **CONTROLS}
    predicted = {name: power(design, factor) for name, factor in factors.items()}
    return {
        "arithmetic": arithmetic,
        "sampling_rate": sampling_rate,
        "steps": steps,
        "noise_multiplier": multiplier,
        "epsilon": CLAIM,
        "delta": delta,
        "confidence": 1 - SIGNIFICANCE,
        "canaries": canaries,
        "guessed_in": design.guessed_in,
        "guessed_out": design.guessed_out,
        "predicted_rate_of_refuting": predicted,
        "measured": {name: _runs(design, factor, name, seeds) for name, factor in factors.items()},
    }


def audit_known(arithmetic: str) -> dict[str, object]:
    """A single Gaussian release: bound over true epsilon, at two confidences, with one number of guesses."""
    true = epsilon_pld([PrivacyEvent("gaussian", KNOWN_MULTIPLIER, 1.0, 1, "canary")], KNOWN_DELTA)
    half = KNOWN_GUESSES // 2
    correct = [
        count_correct(*run_single_sum(KNOWN_MULTIPLIER, KNOWN_CANARIES, seeded, arithmetic), half, half)
        for seeded in (Randomness.seeded(seed, "known") for seed in range(KNOWN_SEEDS))
    ]
    out: dict[str, object] = {
        "arithmetic": arithmetic,
        "noise_multiplier": KNOWN_MULTIPLIER,
        "delta": KNOWN_DELTA,
        "canaries": KNOWN_CANARIES,
        "guesses": KNOWN_GUESSES,
        "epsilon": true,
    }
    for significance in (0.05, SIGNIFICANCE):
        bounds = [
            epsilon_lower_bound(KNOWN_CANARIES, KNOWN_GUESSES, n, KNOWN_DELTA, significance) for n in correct
        ]
        out[f"bound_over_epsilon_at_confidence_{1 - significance:g}"] = {
            "median": float(np.median(bounds)) / true,
            "smallest": min(bounds) / true,
            "largest": max(bounds) / true,
        }
    return out


def _runs(design: Design, factor: float, name: str, seeds: int) -> dict[str, float]:
    findings = [measure(design, Randomness.seeded(seed, name, design.steps), factor) for seed in range(seeds)]
    bounds = [finding.bound for finding in findings]
    return {
        "runs": seeds,
        "refuted": sum(finding.broken for finding in findings),
        "median_bound": float(np.median(bounds)),
        "largest_bound": max(bounds),
        "median_area_under_curve": float(np.median([finding.area_under_curve for finding in findings])),
    }


def main() -> int:
    """Parse, run, print, save."""
    parser = argparse.ArgumentParser(prog="python -m simulations.audit", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--save", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    began = time.perf_counter()
    result = {
        "machine": machine(),
        "claims": [
            audit_claim(arithmetic, *schedule, arguments.seeds)
            for arithmetic in ("float", "grid")
            for schedule in SCHEDULES
        ],
        "known": [audit_known(arithmetic) for arithmetic in ("float", "grid")],
    }
    result["seconds"] = time.perf_counter() - began
    text = json.dumps(result, indent=2) + "\n"
    if arguments.save:
        RESULT.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
