# SPDX-License-Identifier: Apache-2.0
"""What each site of a run trains of its adapter."""

from __future__ import annotations

from fedpeft.adapters.adapter import Adapter
from fedpeft.config import RunConfig
from fedpeft.types import Part


def parts_of(config: RunConfig, adapter: Adapter) -> dict[str, Part]:
    """By site, of those that have a rank of their own; the others train everything.

    Args:
        config: of the run.
        adapter: of the run; its rank may be lower than a site's where settings are tried.
    """
    most = adapter.settings.rank
    return {site.name: adapter.part(min(site.rank, most)) for site in config.sites if site.rank is not None}
