# SPDX-License-Identifier: Apache-2.0
"""A site takes what is carried beside the adapter with every kind of message, and no vector without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedpeft.adapters.adapter import Adapter
from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.settings import AdapterSettings
from fedpeft.site.evaluation import check_evaluation
from fedpeft.site.inbox import check_delivery
from fedpeft.site.rounds import check_request
from fedpeft.site.service import largest_message
from fedpeft.testing import tiny_backbone
from fedpeft.types import FloatVector, TrainRequest


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    settings = AdapterSettings(kind="lora", rank=2, residual_rank=3, layers=[1], modules=["q_proj"])
    return Adapter(tiny_backbone().model, settings)


def _round(adapter: Adapter, state: FloatVector) -> None:
    scales = (1.0,) * len(adapter.layout.segments)
    check_request(
        TrainRequest("run", "run:1", 1, 1, 0.5, 2.0, 0.5, scales, "flat", adapter.digest, state, "head"),
        adapter,
    )


def _evaluation(adapter: Adapter, state: FloatVector) -> None:
    check_evaluation(EvaluateRequest("run", "run:m", 2.0, adapter.digest, state, "head"), adapter)


def _delivery(adapter: Adapter, state: FloatVector) -> None:
    check_delivery(Delivery.of("run-1", adapter.digest, state, b"{}"), adapter)


@pytest.mark.parametrize("check", [_round, _evaluation, _delivery])
def test_states_have_the_whole_length(check: Callable[[Adapter, Any], None], adapter: Adapter) -> None:
    check(adapter, np.ones(adapter.layout.state_size, np.float32))
    for wrong in (
        np.ones(adapter.layout.size, np.float32),
        np.full(adapter.layout.state_size, np.nan, np.float32),
    ):
        with pytest.raises(Refusal, match="adapter"):
            check(adapter, wrong)


def test_a_message_has_room_for_it(adapter: Adapter) -> None:
    layout = adapter.layout
    assert largest_message(layout) - 4 * layout.state_size == largest_message(
        type(layout)(layout.segments)
    ) - 4 * (layout.size)
