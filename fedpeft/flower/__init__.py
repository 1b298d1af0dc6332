# SPDX-License-Identifier: Apache-2.0
"""Flower: messages, the two apps, the transport over a Grid, and a Grid inside one process.

The only folder that imports ``flwr``. Importing this package sets the environment that Flower and Ray read
when they are first imported: nothing is reported to anybody, nothing is looked up or installed at run time.
A value that is set already is kept.
"""

import os

ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""For a process that starts Flower's own commands, too: they read it before they load an app."""

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
