# SPDX-License-Identifier: Apache-2.0
"""What every test starts from: Flower and Ray silent, the public fixtures loaded."""

import logging
from collections.abc import Iterator

import pytest

import fedpeft.flower  # noqa: F401 - sets the environment before the first import of flwr

pytest_plugins = ["fedpeft.testing.fixtures"]


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    """A command that sets up logging would leave a handler on a stream that its test has closed."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    for handler in [one for one in logging.root.handlers if one not in handlers]:
        if type(handler) is logging.StreamHandler:  # pytest's own come and go by themselves
            logging.root.removeHandler(handler)
    logging.root.setLevel(level)
