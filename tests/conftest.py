# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: Flower and Ray silent, the public fixtures loaded."""

import fedpeft.flower  # noqa: F401 - sets the environment before the first import of flwr

pytest_plugins = ["fedpeft.testing.fixtures"]
