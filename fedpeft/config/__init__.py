# SPDX-License-Identifier: Apache-2.0
"""A run's configuration: read from TOML, checked as a whole before anything is loaded.

The keys stand in ``fedpeft.settings``. Nothing here imports a tensor library, so that a configuration is
checked in an instant and on a machine that could not run it.
"""

from fedpeft.config.advice import missing_files, warnings_of
from fedpeft.config.loading import load_config, parse_config, to_toml
from fedpeft.config.options import option_names
from fedpeft.config.run_config import RunConfig
from fedpeft.config.schema import json_schema

__all__ = [
    "RunConfig",
    "json_schema",
    "load_config",
    "missing_files",
    "option_names",
    "parse_config",
    "to_toml",
    "warnings_of",
]
