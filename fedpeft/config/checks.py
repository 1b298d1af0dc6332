# SPDX-License-Identifier: Apache-2.0
"""What must hold between several keys, checked on a configuration whose keys each fit by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from fedpeft.config.aggregation_checks import AGGREGATION_CHECKS
from fedpeft.config.options import OPTION_KEYS, option_names
from fedpeft.config.problems import Problem, closest, shown
from fedpeft.config.source_checks import SOURCE_CHECKS
from fedpeft.config.stage_checks import STAGE_CHECKS
from fedpeft.config.text_checks import TEXT_CHECKS
from fedpeft.methods.base import find

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig


def cross_problems(config: RunConfig) -> list[Problem]:
    """Everything that does not go together, in the order of the sections."""
    return [problem for check in _CHECKS for problem in check(config)]


def _known_options(config: RunConfig) -> Iterator[Problem]:
    for key in OPTION_KEYS:
        value, known = attrgetter(key)(config), option_names(key)
        if value is not None and value not in known:
            allowed = " or ".join(shown(option) for option in known)
            mend = closest(value, known) or "change it"
            yield Problem((key,), f"{key} = {shown(value)}: must be {allowed}; {mend}")


def _reference(config: RunConfig) -> Iterator[Problem]:
    """What needs all records in one process cannot be asked of organizations."""
    if config.method in option_names("method") and find(config.method).how != "rounds":
        rule = 'is for simulations, and data.source = "sites" is a deployment; choose another'
        if config.data.source == "sites":
            yield Problem(("method", "data.source"), f"method = {shown(config.method)}: {rule}")


def _injection(config: RunConfig) -> Iterator[Problem]:
    """An organization's own records are what they are."""
    for name in ("label_noise", "feedback_bias"):
        rate = getattr(config.data.partition, name)
        if rate and config.data.source == "sites":
            key, rule = f"data.partition.{name}", 'is for simulations, and data.source = "sites" is none'
            yield Problem((key, "data.source"), f"{key} = {rate}: {rule}; leave it out")


def _start(config: RunConfig) -> Iterator[Problem]:
    kind, start = config.adapter.kind, config.adapter.start
    if start != "random" and kind in ("bias", "lora-xs"):
        rule = f"has no use with adapter.kind = {shown(kind)}, which has no A to start; leave it out"
        yield Problem(("adapter.start", "adapter.kind"), f"adapter.start = {shown(start)}: {rule}")
    file, keys = config.adapter.start_file, ("adapter.start_file", "adapter.start")
    if start == "file" and file is None:
        yield Problem(keys, 'adapter.start_file: missing, and adapter.start = "file" reads it; name it')
    if start != "file" and file is not None:
        rule = 'has no use without adapter.start = "file"; set that, or leave the file out'
        yield Problem(keys, f"adapter.start_file = {shown(str(file))}: {rule}")


def _some_site(config: RunConfig) -> Iterator[Problem]:
    if not config.sites:
        yield Problem(
            ("sites", "data.source", "data.partition.parts"),
            "sites = []: at least 1 is needed; add a table [[sites]] for each site",
        )


def _different_names(config: RunConfig) -> Iterator[Problem]:
    seen: set[str] = set()
    for site in config.sites:
        key, folded = f"sites.{site.name}.name", site.name.casefold()
        if folded in seen:
            rule = "must differ from every other site's, upper and lower case aside, as it names files"
            yield Problem((key,), f"{key} = {shown(site.name)}: {rule}; rename one of the two")
        seen.add(folded)


def _declared_units(config: RunConfig) -> Iterator[Problem]:
    for site in config.sites:
        if site.declared_units is None:
            key = f"sites.{site.name}.declared_units"
            line = (
                f"{key}: missing, and noise is calibrated to it; add the public number of units, at least 1"
            )
            yield Problem((key, "data.source"), line)


def _site_epsilon(config: RunConfig) -> Iterator[Problem]:
    most = config.privacy.epsilon
    for site in config.sites:
        if site.epsilon is not None and site.epsilon > most:
            key = f"sites.{site.name}.epsilon"
            rule = f"must be at most privacy.epsilon = {most}"
            line = f"{key} = {site.epsilon}: {rule}; lower it, or leave it out for the run's"
            yield Problem((key, "privacy.epsilon"), line)


def _private_evaluation(config: RunConfig) -> Iterator[Problem]:
    evaluation, key = config.evaluation, "evaluation.private"
    if not evaluation.private:
        if evaluation.private_before:
            rule = "has no use without evaluation.private; set that too"
            yield Problem(("evaluation.private_before", key), f"evaluation.private_before = true: {rule}")
        return
    if config.data.held_out == 0:
        rule = "must be above 0 with evaluation.private, which asks about held-out units; hold out a share"
        yield Problem(("data.held_out", key), f"data.held_out = {config.data.held_out}: {rule}")
    if not evaluation.labels and (evaluation.path is None or not evaluation.public):
        rule = "needs public answers to rank against; list evaluation.labels or a public evaluation.path"
        keys = (key, "evaluation.labels", "evaluation.path", "evaluation.public")
        yield Problem(keys, f"{key} = true: {rule}")


def _allocation_start(config: RunConfig) -> Iterator[Problem]:
    path, rule = config.privacy.allocation_start, config.privacy.allocation
    if path is not None and rule == "uniform":
        key = "privacy.allocation_start"
        line = 'has no use with privacy.allocation = "uniform"; remove it, or choose a rule that learns'
        yield Problem((key, "privacy.allocation"), f"{key} = {shown(str(path))}: {line}")


def _task_weights(config: RunConfig) -> Iterator[Problem]:
    weights, key = config.privacy.task_weights, "privacy.task_weights"
    if weights and max(weights.values()) != 1:
        largest = max(weights.values())
        rule = f"the largest must be exactly 1, and is {largest}; divide all of them by it"
        yield Problem((key,), f"{key} = {shown(weights)}: {rule}")
    if weights and config.data.task is None and config.data.source != "docstrings":
        rule = "needs tasks, exactly one for each unit; name their column in data.task"
        yield Problem((key, "data.task"), f"{key} = {shown(weights)}: {rule}")


def _min_sites(config: RunConfig) -> Iterator[Problem]:
    least, num_sites = config.federation.min_sites, len(config.sites)
    if least is not None and least > num_sites:
        rule = f"must be at most the number of sites, {num_sites}"
        line = f"federation.min_sites = {least}: {rule}; lower it, or leave it out for all"
        yield Problem(("federation.min_sites", "sites"), line)


def _decay(config: RunConfig) -> Iterator[Problem]:
    """The server refuses it too, but only when sites have committed."""
    federation = config.federation
    decay, learning_rate = federation.lambda1, federation.server_learning_rate
    if learning_rate * decay >= 1:
        rule = f"times server_learning_rate = {learning_rate} must be below 1, or a round removes the adapter"
        keys = ("federation.lambda1", "federation.server_learning_rate")
        yield Problem(keys, f"federation.lambda1 = {decay}: {rule}; lower it")


def _something_to_evaluate(config: RunConfig) -> Iterator[Problem]:
    if config.evaluation.records and config.evaluation.path is None and config.data.held_out == 0:
        keys = ("data.held_out", "evaluation.path", "evaluation.records")
        rule = "must be above 0 where evaluation has no path of its own"
        mend = "hold out a share, give evaluation.path, or set evaluation.records = 0"
        yield Problem(keys, f"data.held_out = {config.data.held_out}: {rule}; {mend}")


def _selection(config: RunConfig) -> Iterator[Problem]:
    selector = config.selection.selector
    start = config.privacy.allocation_start
    if selector is not None and start is not None:
        rule = f"is of all segments, of which selection.selector = {shown(selector)} leaves some; remove one"
        keys = ("privacy.allocation_start", "selection.selector")
        yield Problem(keys, f"privacy.allocation_start = {shown(str(start))}: {rule}")
    if selector == "rotating" and config.privacy.drop_after:
        rule = 'gives segments up for good, which selector = "rotating" lets wait for their turn; set it to 0'
        keys = ("privacy.drop_after", "selection.selector")
        yield Problem(keys, f"privacy.drop_after = {config.privacy.drop_after}: {rule}")


def _releases_beside_the_steps_know_no_tasks(config: RunConfig) -> Iterator[Problem]:
    """A vote or a count is alike for all tasks, so a task's smaller epsilon would not be true of it."""
    if not config.privacy.task_weights:
        return
    weights = "privacy.task_weights"
    if config.synthesis.generator not in (None, "public"):
        key = "synthesis.generator"
        rule = "cannot go together with weights of tasks, whose epsilons do not count votes"
        line = f'{key} = {shown(config.synthesis.generator)}: {rule}; take "public", or leave the weights out'
        yield Problem((key, weights), line)
    if config.selection.selector == "vote":
        key = "selection.selector"
        rule = "cannot go together with weights of tasks, whose epsilons do not count votes"
        yield Problem((key, weights), f'{key} = "vote": {rule}; take another, or leave the weights out')
    if config.evaluation.private:
        key = "evaluation.private"
        rule = "cannot go together with weights of tasks, whose epsilons do not count evaluations"
        yield Problem((key, weights), f"{key} = true: {rule}; evaluate on public data, or leave them out")


_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (
    _known_options,
    _reference,
    _injection,
    _start,
    _something_to_evaluate,
    _some_site,
    _different_names,
    _declared_units,
    _site_epsilon,
    _private_evaluation,
    _allocation_start,
    _task_weights,
    _releases_beside_the_steps_know_no_tasks,
    _min_sites,
    _decay,
    _selection,
    *AGGREGATION_CHECKS,
    *STAGE_CHECKS,
    *SOURCE_CHECKS,
    *TEXT_CHECKS,
)
