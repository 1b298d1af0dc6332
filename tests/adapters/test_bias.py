# SPDX-License-Identifier: Apache-2.0
"""A bias is the same where the backbone has one and where it has none, and survives half precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedpeft.adapters.bias import Kind
from fedpeft.adapters.start import from_chance


def wrapped(*, has_bias: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Linear(6, 4, bias=has_bias).to(dtype).requires_grad_(False)
    return Kind().attach(base, 8, np.random.default_rng(0), from_chance)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_it_is_added_to_what_is_there(has_bias: bool, dtype: torch.dtype) -> None:
    module = wrapped(has_bias=has_bias, dtype=dtype)
    x = torch.randn(2, 3, 6, dtype=dtype)
    before = module.base(x)
    torch.testing.assert_close(module(x), before)
    (b,) = module.trained()
    b.copy_(torch.tensor([1.0, -2.0, 0.5, 4.0]))
    torch.testing.assert_close(module(x), before + b.to(dtype), rtol=2e-2, atol=2e-2)


def test_a_small_bias_is_not_rounded_away_in_half_precision() -> None:
    module = wrapped(has_bias=False, dtype=torch.bfloat16)
    x = torch.randn(64, 64, 6, dtype=torch.bfloat16)
    before = module(x).float().mean()
    (b,) = module.trained()
    b.fill_(1e-3)  # an eighth of the step between numbers around 1
    moved = float(module(x).float().mean() - before)
    assert moved == pytest.approx(1e-3, rel=0.3)
    rounded_twice = (module.base(x) + b.to(torch.bfloat16)).float().mean() - before
    assert abs(float(rounded_twice) - 1e-3) > abs(moved - 1e-3)  # the control
