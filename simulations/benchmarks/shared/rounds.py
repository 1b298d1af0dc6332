# SPDX-License-Identifier: Apache-2.0
"""A tiny federation with the time of each of its rounds: ``python -m simulations.benchmarks.shared.rounds``.

A program of its own where its memory is measured, a function where it is not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from fedpeft.flower.simulation import simulate
from fedpeft.reporter import Silence
from fedpeft.testing import tiny_config
from fedpeft.types import JsonDict


@dataclass
class _Clock(Silence):
    """An observer that notes when each round was complete."""

    ends: list[float] = field(default_factory=list)

    def round_done(self, *_: object) -> None:
        """Note it."""
        self.ends.append(time.perf_counter())

    def stage(self, *_: object) -> None:
        """Say nothing."""

    def site_step(self, *_: object) -> None:
        """Not of interest."""


def run_rounds(
    num_sites: int, rounds: int, num_records: int = 8, overrides: tuple[str, ...] = ()
) -> JsonDict:
    """Run it and take its times.

    Args:
        num_sites: organizations.
        rounds: complete ones; the first is not timed.
        num_records: of each site; half of them are in a step.
        overrides: of the configuration.

    Returns:
        ``seconds`` of each round after the first, ``total_s`` of the run and ``dimensions`` of the adapter.
    """
    with tempfile.TemporaryDirectory() as name:
        keys = ("evaluation.records=0", "data.held_out=0", "adapter.rank=8", *overrides)
        config = tiny_config(
            Path(name) / "in", num_sites=num_sites, num_records=num_records, rounds=rounds, overrides=keys
        )
        clock, started = _Clock(), time.perf_counter()
        result = simulate(config, Path(name) / "out", clock)
        return {
            "seconds": [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)],
            "total_s": time.perf_counter() - started,
            "dimensions": result["trainable_parameters"],
        }


def main() -> None:
    """Print what ``run_rounds`` returns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("num_sites", type=int)
    parser.add_argument("rounds", type=int)
    arguments = parser.parse_args()
    print(json.dumps(run_rounds(arguments.num_sites, arguments.rounds)))


if __name__ == "__main__":
    main()
