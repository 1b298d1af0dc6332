# SPDX-License-Identifier: Apache-2.0
"""A site behind a Unix socket, as the courier sees it: the few things that may be asked of it.

It holds no state: a channel is opened for a call and closed after it, so that a process which lives for one
message needs nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.site import wire
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest

_log = logging.getLogger(__name__)

_OPTIONS: Final = [
    ("grpc.max_receive_message_length", -1),  # what comes is the site's, which is trusted here
    ("grpc.max_send_message_length", -1),  # how large a message may be is the site's to say
    ("grpc.enable_http_proxy", 0),
]
_HEALTH: Final = "/grpc.health.v1.Health/Check"


class RemoteSite:
    """The site that listens at a socket."""

    def __init__(self, socket: Path, *, answer_s: float = 600.0, train_s: float = 43_200.0) -> None:
        """Know where it is; nothing is opened yet.

        Args:
            socket: absolute path of the site's socket.
            answer_s: the longest wait for facts and consent.
            train_s: the longest wait for a release, the site's queue included. What comes after the
                coordinator's deadline is in the ledger, and is sent when it is asked for again.
        """
        self._target = f"unix:{socket}"
        self._answer_s = answer_s
        self._train_s = train_s

    def facts(self) -> SiteFacts:
        """Public facts.

        Raises:
            Refusal: the site's own, or ``UNAVAILABLE`` where it does not answer.
        """
        return wire.decode_facts(self._ask(wire.DESCRIBE, wire.encode_describe, self._answer_s))

    def commit(self, schedule: Schedule) -> None:
        """Record a whole run.

        Raises:
            Refusal: as for ``facts``.
        """
        wire.decode_consent(self._ask(wire.COMMIT, lambda: wire.encode_schedule(schedule), self._answer_s))

    def train(self, request: TrainRequest) -> PrivateUpdate:
        """Answer one round's request.

        Raises:
            Refusal: as for ``facts``.
        """
        data = self._ask(wire.TRAIN, lambda: wire.encode_train(request), self._train_s)
        return wire.decode_update(data, request.request_id)

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        """Answer a vote.

        Raises:
            Refusal: as for ``facts``.
        """
        data = self._ask(wire.VOTE, lambda: wire.encode_vote(request), self._train_s)
        return wire.decode_histogram(data, request.request_id)

    def evaluate(self, request: EvaluateRequest) -> PrivateMetric:
        """Answer a private evaluation.

        Raises:
            Refusal: as for ``facts``.
        """
        data = self._ask(wire.EVALUATE, lambda: wire.encode_evaluate(request), self._train_s)
        return wire.decode_metric(data, request.request_id)

    def deliver(self, delivery: Delivery) -> None:
        """Keep a run's adapter and result.

        Raises:
            Refusal: as for ``facts``.
        """
        wire.decode_consent(self._ask(wire.DELIVER, lambda: wire.encode_deliver(delivery), self._train_s))

    def is_healthy(self) -> bool:
        """Whether the site says that it serves; ``False`` too where nobody listens."""
        try:
            data = self._call(_HEALTH, health_pb2.HealthCheckRequest(service=wire.SERVICE), 10.0)
        except grpc.RpcError:
            return False
        status = health_pb2.HealthCheckResponse.FromString(data).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    def _ask(self, method: str, make: Callable[[], Message], timeout_s: float) -> bytes:
        try:
            message = make()
        except (ValueError, TypeError, OverflowError) as error:  # a number or a text that no message can hold
            raise Refusal(RefusalCode.MALFORMED, f"{method}: {error}") from error
        try:
            return self._call(f"/{wire.SERVICE}/{method}", message, timeout_s)
        except grpc.RpcError as error:
            raise Refusal(
                RefusalCode.UNAVAILABLE, f"{self._target}: {method}: {error.code().name}"
            ) from error

    def _call(self, path: str, message: Message, timeout_s: float) -> bytes:
        with grpc.insecure_channel(self._target, options=_OPTIONS) as channel:
            data: bytes = channel.unary_unary(path)(message.SerializeToString(), timeout=timeout_s)
        return data
