# SPDX-License-Identifier: Apache-2.0
"""What must hold between the stages before the rounds and what they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fedpeft.config.problems import Problem, shown

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig


def _written(config: RunConfig) -> Iterator[Problem]:
    synthesis, key = config.synthesis, "synthesis.written"
    if synthesis.written and synthesis.generator not in ("pool", "public"):
        rule = 'has no use without generator = "pool" or "public", whose candidates it adds to'
        yield Problem((key, "synthesis.generator"), f"{key} = {synthesis.written}: {rule}; leave it out")


def _tasks(config: RunConfig) -> Iterator[Problem]:
    tasks, key = config.synthesis.tasks, "synthesis.tasks"
    twice = [task for task in dict.fromkeys(tasks) if tasks.count(task) > 1]
    if twice:
        yield Problem((key,), f"{key}: names {shown(twice[0])} twice; name each once")


STAGE_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (_written, _tasks)
