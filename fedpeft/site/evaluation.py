# SPDX-License-Identifier: Apache-2.0
"""A site's private evaluation: how many of its held-out units the adapter answers rightly, with noise.

What leaves is one noised count, charged before it is computed, and public constants. The distractors that
answers are ranked against are public: a distractor taken from another unit would let that unit move the count
by more than 1. Held-out units never train, but the policy's epsilon covers them as it covers the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import MechanismError
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.mechanism import release_count
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.privacy.randomness import Randomness
from fedpeft.site.fields import check_protocol, is_positive, refuse_malformed
from fedpeft.site.payload import metric_to_bytes
from fedpeft.types import PrivacyEvent


class Judge(Protocol):
    """Decides what is right, with the adapter that is loaded."""

    def __call__(self) -> Mapping[str, Sequence[bool]]:
        """For each held-out unit, which of its records are answered rightly; never looks across units."""
        ...


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a site evaluates on.

    Attributes:
        judge: of the held-out units, whose number is private.
        declared_units: the public number of held-out units; the count is read as out of so many.
    """

    judge: Judge
    declared_units: float


def check_evaluation(request: EvaluateRequest, adapter: Adapter) -> None:
    """Refuse a request that could not be served, before any data is read.

    Raises:
        Refusal: ``PROTOCOL`` for another version, ``MALFORMED`` for any field out of its range.
    """
    check_protocol(request.protocol)
    refuse_malformed(
        {
            "run_id": bool(request.run_id),
            "request_id": bool(request.request_id),
            "noise_multiplier": is_positive(request.noise_multiplier),
            "layout_digest": request.layout_digest == adapter.digest,
            "adapter": request.adapter.shape == (adapter.layout.state_size,)
            and bool(np.isfinite(request.adapter).all()),
        }
    )


def release_metric(
    request: EvaluateRequest,
    held_out: HeldOut,
    *,
    ledger: Ledger,
    unit: str,
    arithmetic: str,
    randomness: Randomness,
) -> PrivateMetric:
    """Count what was charged for, and store it before it leaves. The adapter of the request is loaded.

    A unit counts by the share of its records that are answered rightly, so by at most 1 whatever it has.

    Raises:
        MechanismError: what was released is not what was charged.
    """
    head = ledger.head
    shares = [sum(map(bool, right)) / len(right) for right in held_out.judge().values() if len(right)]
    released = release_count(
        shares,
        noise_multiplier=request.noise_multiplier,
        unit=unit,
        arithmetic=arithmetic,
        stream=randomness.stream("metric"),
    )
    if released.event != PrivacyEvent(request.kind, request.noise_multiplier, 1.0, 1, unit):
        raise MechanismError("the mechanism's event is not the one that was charged; nothing is released")
    metric = PrivateMetric(request.request_id, released.value, held_out.declared_units, released.event, head)
    ledger.store(request.request_id, metric_to_bytes(metric))
    return metric
