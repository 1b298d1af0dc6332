# SPDX-License-Identifier: Apache-2.0
"""What must hold between how sites' updates become one and what the sites train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fedpeft.config.problems import Problem, shown

if TYPE_CHECKING:
    from fedpeft.config.run_config import RunConfig

_RULE: Final = "federation.aggregation"


def _residual(config: RunConfig) -> Iterator[Problem]:
    """What is carried must be what was left over, and room for it must be everywhere."""
    adapter, federation, key = config.adapter, config.federation, "adapter.residual_rank"
    if adapter.residual_rank and adapter.kind != "lora":
        rule = f"has no use with adapter.kind = {shown(adapter.kind)}, of which nothing is left over"
        yield Problem((key, "adapter.kind"), f"{key} = {adapter.residual_rank}: {rule}; leave it out")
    if federation.aggregation != "fedex" or adapter.kind != "lora":
        return
    if not adapter.residual_rank and len(config.sites) > 1:
        rule = 'must be at least 1 with federation.aggregation = "fedex", which carries what means lack'
        every = ", and the same in every SITE.toml" if config.data.source == "sites" else ""
        yield Problem((key, _RULE, "data.source"), f"{key} = 0: {rule}; set it{every}")
    completes = 'with federation.aggregation = "fedex", whose residual completes the sites\' mean itself'
    if federation.average_iterates:
        name = "federation.average_iterates"
        yield Problem((name, _RULE), f"{name} = true: must be false {completes}; set it so")
    for name, wanted in (
        ("server_optimizer", "sgd"),
        ("server_learning_rate", 1.0),
        ("layer_smoothing", 0.0),
    ):
        found = getattr(federation, name)
        if found != wanted:
            line = f"federation.{name} = {shown(found)}: must be {shown(wanted)} {completes}; leave it out"
            yield Problem((f"federation.{name}", _RULE), line)


def _ranks(config: RunConfig) -> Iterator[Problem]:
    """A site trains the first directions of those that the adapter has."""
    most, kind = config.adapter.rank, config.adapter.kind
    for site in config.sites:
        if site.rank is None:
            continue
        key = f"sites.{site.name}.rank"
        if site.rank > most:
            rule = f"must be at most adapter.rank = {most}; lower it, or leave it out for all directions"
            yield Problem((key, "adapter.rank"), f"{key} = {site.rank}: {rule}")
        if kind == "bias":
            rule = 'has no use with adapter.kind = "bias", which has no directions; leave it out'
            yield Problem((key, "adapter.kind"), f"{key} = {site.rank}: {rule}")
        if config.federation.aggregation == "trimmed-mean" and site.rank < most:
            rule = (
                'cannot go together with federation.aggregation = "trimmed-mean", which would trim the sites '
                "that train a direction against those that do not; take another rule, or leave the rank out"
            )
            yield Problem((key, _RULE), f"{key} = {site.rank}: {rule}")


AGGREGATION_CHECKS: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (_residual, _ranks)
