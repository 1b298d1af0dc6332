# SPDX-License-Identifier: Apache-2.0
"""What a run's method is made of, told from the configuration that came out."""

from __future__ import annotations

from operator import attrgetter

from fedpeft.config.run_config import RunConfig
from fedpeft.errors import ConfigError
from fedpeft.methods.base import find
from fedpeft.types import JsonDict


def method_facts(config: RunConfig) -> JsonDict:
    """Its name and source; keys as the method sets them, and those that the run's file set otherwise."""
    method = find(config.method)
    found = {key: attrgetter(key)(config) for key in method.sets}
    return {
        "name": config.method,
        "source": method.source,
        "sets": {key: value for key, value in found.items() if value == method.sets[key]},
        "changed": {key: value for key, value in found.items() if value != method.sets[key]},
    }


def refuse_reference(config: RunConfig) -> None:
    """For whoever can carry out rounds of releases only.

    Raises:
        ConfigError: the method is a reference.
    """
    if find(config.method).how != "rounds":
        raise ConfigError(
            f'method = "{config.method}": is a reference for simulations; take `fedpeft simulate` or '
            "`fedpeft.baselines.run_method`, or choose a method that sites can carry out"
        )
