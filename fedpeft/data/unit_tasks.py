# SPDX-License-Identifier: Apache-2.0
"""The task of each unit, where tasks have weights: exactly one, and one that has a weight.

Whether a site's data are so is found out at the site, before it answers anybody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fedpeft.data.site_data import SiteData
from fedpeft.errors import DataError

_log = logging.getLogger(__name__)


def weights_of_units(data: SiteData, weights: Mapping[str, float]) -> dict[str, float]:
    """The weight of every training unit's task; nothing without weights.

    Args:
        data: of one site.
        weights: by task.

    Raises:
        DataError: a unit has records of several tasks, or of a task without a weight. Which one is told in
            this process's log alone.
    """
    if not weights:
        return {}
    problems = {unit: _problem(tasks, weights) for unit, tasks in data.tasks.items()}
    wrong = {unit: problem for unit, problem in problems.items() if problem}
    for unit, problem in wrong.items():
        _log.error("site %s: unit %s: %s %s", data.name, unit, problem, sorted(data.tasks[unit]))
    if wrong:
        raise DataError(
            [f"privacy.task_weights: site {data.name}: {problem}" for problem in sorted(set(wrong.values()))]
        )
    return {unit: weights[task] for unit, (task,) in data.tasks.items()}


def _problem(tasks: frozenset[str], weights: Mapping[str, float]) -> str:
    if len(tasks) > 1:
        return "a unit has records of several tasks, and must have exactly one; choose another unit or task"
    if not tasks <= weights.keys():
        return "a unit's task has no weight; add it, with 1 for what shall count as without weights"
    return ""
