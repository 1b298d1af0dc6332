# SPDX-License-Identifier: Apache-2.0
# The public names for editors and type checkers, which cannot see names that are fetched at their first use.

from fedpeft.api import Run as Run
from fedpeft.api import make_plan as make_plan
from fedpeft.api import open_run as open_run
from fedpeft.api import resume as resume
from fedpeft.api import simulate as simulate
from fedpeft.config import RunConfig as RunConfig
from fedpeft.config import json_schema as json_schema
from fedpeft.config import load_config as load_config
from fedpeft.config import parse_config as parse_config
from fedpeft.config import to_toml as to_toml
from fedpeft.errors import BackboneError as BackboneError
from fedpeft.errors import ConfigError as ConfigError
from fedpeft.errors import DataError as DataError
from fedpeft.errors import EventError as EventError
from fedpeft.errors import FedpeftError as FedpeftError
from fedpeft.errors import LedgerError as LedgerError
from fedpeft.errors import MechanismError as MechanismError
from fedpeft.errors import Refusal as Refusal
from fedpeft.errors import RunDirectoryError as RunDirectoryError
from fedpeft.errors import UserError as UserError
from fedpeft.plan import Plan as Plan

__version__: str
