# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: Flower and Ray silent, the public fixtures loaded."""

from fedpeft.cli.entry import set_environment

set_environment()  # before the first import of flwr

pytest_plugins = ["fedpeft.testing.fixtures"]
