# SPDX-License-Identifier: Apache-2.0
"""What must hold between the stages before the rounds and what they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fedpeft.config.problems import Problem, shown
from fedpeft.selection.lineage import FEWEST_ROWS

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig

_LOOKS_AT_ROWS: Final = ("warm_start", "allocation_start")


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


def _rows_of_the_run(config: RunConfig) -> Iterator[Problem]:
    """What looks at rows needs some: of a file, or that the run makes itself."""
    selection, synthesis = config.selection, config.synthesis
    if selection.data is not None:
        return
    for name in _LOOKS_AT_ROWS:
        key, value = f"selection.{name}", getattr(selection, name)
        if value and synthesis.generator is None:
            rule = "looks at the rows of selection.data, or that synthesis makes; give one, or leave it out"
            yield Problem((key, "selection.data", "synthesis.generator"), f"{key} = {shown(value)}: {rule}")
    looks = [name for name in ("selector", *_LOOKS_AT_ROWS) if getattr(selection, name)]
    if looks and synthesis.generator is not None and synthesis.size < FEWEST_ROWS:
        rule = (
            f"must be at least {FEWEST_ROWS} with selection.{looks[0]}, which looks at these rows; raise it"
        )
        yield Problem(
            ("synthesis.size", f"selection.{looks[0]}"), f"synthesis.size = {synthesis.size}: {rule}"
        )


def _allocation_start(config: RunConfig) -> Iterator[Problem]:
    key, privacy = "selection.allocation_start", config.privacy
    if not config.selection.allocation_start:
        return
    if privacy.allocation == "uniform":
        rule = 'has no use with privacy.allocation = "uniform"; leave it out, or choose a rule that learns'
        yield Problem((key, "privacy.allocation"), f"{key} = true: {rule}")
    if privacy.allocation_start is not None:
        rule = "and privacy.allocation_start are two starts of one allocation; leave one out"
        yield Problem((key, "privacy.allocation_start"), f"{key} = true: {rule}")


STAGE_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (
    _written,
    _tasks,
    _rows_of_the_run,
    _allocation_start,
)
