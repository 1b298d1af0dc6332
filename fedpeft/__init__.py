# SPDX-License-Identifier: Apache-2.0
"""Federated low-rank adapters with differential privacy at every site, on Flower.

A run from Python::

    import fedpeft

    run = fedpeft.simulate("run.toml", "runs/first")
    print(run.guarantee)
    model = run.model()

Importing the package imports none of its parts: a name below is fetched when it is first used, so that the
command line and tools that only read configurations stay instant.
"""

import importlib
from importlib.metadata import version
from typing import Any

__version__ = version("fedpeft")

__all__ = [
    "BackboneError",
    "ConfigError",
    "DataError",
    "EventError",
    "FedpeftError",
    "LedgerError",
    "MechanismError",
    "Plan",
    "Refusal",
    "Run",
    "RunConfig",
    "RunDirectoryError",
    "UserError",
    "__version__",
    "json_schema",
    "load_config",
    "make_plan",
    "open_run",
    "parse_config",
    "resume",
    "simulate",
    "to_toml",
]

_HOMES = {
    "Plan": "fedpeft.plan",
    **dict.fromkeys(("Run", "make_plan", "open_run", "resume", "simulate"), "fedpeft.api"),
    **dict.fromkeys(("RunConfig", "json_schema", "load_config", "parse_config", "to_toml"), "fedpeft.config"),
}
"""Where a public name is at home; the others are errors."""


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'fedpeft' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES.get(name, "fedpeft.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
