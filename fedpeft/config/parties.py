# SPDX-License-Identifier: Apache-2.0
"""Configurations made from another one: of one of its sites, and of all its records in one place."""

from __future__ import annotations

from typing import Final

from fedpeft.config.run_config import RunConfig
from fedpeft.settings import Section, SiteSettings

ONE_PLACE: Final = "pooled"
"""The name of the one site."""


def alone(config: RunConfig, name: str) -> RunConfig:
    """The configuration of a run of one of the sites; delta stays that of the whole run."""
    (site,) = (site for site in config.sites if site.name == name)
    return _of_one(config, site)


def in_one_place(config: RunConfig) -> RunConfig:
    """The same run with one site that declares the units of all; epsilon and delta stay those of the run."""
    declared = sum(config.declared_units.values())
    return _of_one(config, SiteSettings(name=ONE_PLACE, declared_units=declared))


def _of_one(config: RunConfig, site: SiteSettings) -> RunConfig:
    """Blocks and rows that were made for the whole run are not made again."""
    changes: dict[str, Section] = {
        "adapter": config.adapter.model_copy(update={"residual_rank": 0}),  # one site leaves nothing over
        "selection": config.selection.model_copy(update={"selector": None}),
        "synthesis": config.synthesis.model_copy(update={"generator": None}),
        "privacy": config.privacy.model_copy(update={"delta": config.delta}),
        "federation": config.federation.model_copy(update={"min_sites": None}),
    }
    return config.model_copy(update={"sites": (site,), "method": "plain", **changes})
