# SPDX-License-Identifier: Apache-2.0
"""Aggregation rules are found by the names of their files."""

import pytest

from fedpeft.aggregation import mean
from fedpeft.aggregation.base import available, find
from fedpeft.errors import ConfigError


def test_find_by_module_name():
    assert find("mean") is mean.Rule


@pytest.mark.parametrize(
    "name", ["base", "server-optimizer", "server_optimizer", "", "no-such", "../mean", "os"]
)
def test_unknown_name_is_a_config_error_that_lists_the_choices(name):
    with pytest.raises(ConfigError, match=r"federation\.aggregation.*mean"):
        find(name)


def test_available_lists_rules_only():
    assert available() == ["fedex", "mean", "product-svd", "trimmed-mean"]
