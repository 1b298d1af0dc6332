# SPDX-License-Identifier: Apache-2.0
"""One step in a process of its own: ``python -m simulations.benchmarks.shared.contender NAME``."""

from __future__ import annotations

import argparse
import json

import torch

from simulations.benchmarks.shared.measure import timed
from simulations.benchmarks.shared.steps import STEPS, standard_task

_REPEATS = 2  # the second finds the optimizer's and the allocator's state of the first


def main() -> None:
    """Take the step twice and print its seconds, and a GPU's peak where there is one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=[*STEPS, "nothing"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    task = standard_task(arguments.quick)
    seconds: list[float] = []
    if arguments.name != "nothing":
        step = STEPS[arguments.name](task)
        seconds = [timed(step)["wall"] for _ in range(_REPEATS)]
    gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
    print(json.dumps({"seconds": seconds, "gpu_mb": gpu}))


if __name__ == "__main__":
    main()
