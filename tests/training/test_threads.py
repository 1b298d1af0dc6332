# SPDX-License-Identifier: Apache-2.0
"""How many cores a process takes."""

import os

import pytest
import torch

from fedpeft.training.threads import use_threads


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [(3, "2", 3), (None, "2", 2), *((None, said, os.cpu_count()) for said in ("", "many", "0"))],
)
def test_the_configuration_then_the_environment_then_all(monkeypatch, asked, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    use_threads(asked)
    assert torch.get_num_threads() == expected
