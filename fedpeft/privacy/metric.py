# SPDX-License-Identifier: Apache-2.0
"""What is asked and answered in a private evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from fedpeft.privacy.histogram import VoteRequest, VotingTransport
from fedpeft.types import (
    PROTOCOL_VERSION,
    FloatVector,
    PrivacyEvent,
    RefusalCode,
    TrainRequest,
)


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """A private evaluation asked of one site: how many of its held-out units answer rightly.

    Attributes:
        run_id: of a commitment that has releases of the stage ``"evaluation"``.
        noise_multiplier: standard deviation of the noise on the count, which a unit moves by at most 1.
        adapter: ``(d,)`` float32, the state to evaluate.
    """

    run_id: str
    request_id: str
    noise_multiplier: float
    layout_digest: str
    adapter: FloatVector
    ledger_head: str
    protocol: int = PROTOCOL_VERSION

    stage: ClassVar[str] = "evaluation"
    kind: ClassVar[str] = "gaussian"
    sampling_rate: ClassVar[float] = 1.0
    local_steps: ClassVar[int] = 1

    def digest(self) -> str:
        """Hash of the whole content but the echoed head."""
        parts = (self.run_id, self.request_id, self.noise_multiplier, self.layout_digest, self.protocol)
        digest = hashlib.sha256(repr((self.stage, parts)).encode())
        digest.update(np.ascontiguousarray(self.adapter, dtype="<f4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class PrivateMetric:
    """What leaves a site after a private evaluation.

    Attributes:
        correct: the noised number of right held-out units; may be negative or above ``declared``.
        declared: the public number of held-out units that it is out of.
        event: what the count cost.
        ledger_head: of the site's ledger, which already holds the event.
    """

    request_id: str
    correct: float
    declared: float
    event: PrivacyEvent
    ledger_head: str


MetricAnswer = PrivateMetric | RefusalCode


class EvaluatingTransport(VotingTransport, Protocol):
    """A transport that reaches sites for private evaluations as well."""

    def evaluate(
        self, requests: Mapping[str, EvaluateRequest], deadline_s: float
    ) -> Iterable[tuple[str, MetricAnswer]]:
        """Ask each site for its count; answers in the order of the requests."""
        ...


Payable = TrainRequest | EvaluateRequest | VoteRequest
"""What a ledger can charge for: steps of one kind, multiplier and rate, of a stage, under a run."""
