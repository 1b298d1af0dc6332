# SPDX-License-Identifier: Apache-2.0
"""The gRPC service over a site: five methods, one release at a time, and nothing but codes for errors.

gRPC puts the text of an exception into the status that it sends. No exception reaches it here: an interceptor
around every method answers with an enumerated code and keeps the text for the site's own log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fedpeft.data.embedding import DIMENSION
from fedpeft.delivery import PAPERS, Delivery
from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.histogram import MAX_BINS, PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.site import wire
from fedpeft.types import Layout, PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest

_log = logging.getLogger(__name__)

_PREFIX: Final = f"/{wire.SERVICE}/"
_THREADS: Final = 16
_ROOM_FOR_NAMES: Final = 64 * 1024
_BYTES_PER_SCALE: Final = 8
_BYTES_PER_VALUE: Final = 4

Method = Callable[[bytes, grpc.ServicerContext], Any]


class Served(Protocol):
    """What the service asks of a site."""

    def facts(self) -> SiteFacts:
        """Public facts."""
        ...

    def commit(self, schedule: Schedule) -> None:
        """Record a whole run; raises ``Refusal``."""
        ...

    def train(self, request: TrainRequest) -> PrivateUpdate:
        """Answer one round's request; raises ``Refusal``."""
        ...

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        """Answer a vote; raises ``Refusal``."""
        ...

    def evaluate(self, request: EvaluateRequest) -> PrivateMetric:
        """Answer a private evaluation; raises ``Refusal``."""
        ...

    def deliver(self, delivery: Delivery) -> None:
        """Keep a run's adapter and result; raises ``Refusal``."""
        ...


class Service:
    """The methods of ``site.proto``; each takes the request's bytes and returns a ``Reply``."""

    def __init__(
        self,
        site: Served,
        queue_s: float,
        slot_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Serve ``site``.

        Args:
            site: asked by several threads.
            queue_s: how long a request waits for the one that is in work.
            slot_s: answers about data leave at whole multiples of it, so that how long the work took tells
                little; 0 does not wait.
            clock: seconds since the epoch.
            sleep: waits.
        """
        self._site = site
        self._queue_s = queue_s
        self._slot_s = slot_s
        self._clock = clock
        self._sleep = sleep
        self._busy = threading.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a request is in work, wherever its asker has gone."""
        return self._busy.locked()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server needs."""
        methods: dict[str, Method] = {
            wire.DESCRIBE: self.describe,
            wire.COMMIT: self.commit,
            wire.TRAIN: self.train,
            wire.VOTE: self.vote,
            wire.EVALUATE: self.evaluate,
            wire.DELIVER: self.deliver,
        }
        handlers = {
            # Without a deserializer of gRPC's: what cannot be read shall be refused by its code too.
            name: grpc.unary_unary_rpc_method_handler(method, response_serializer=_serialize)
            for name, method in methods.items()
        }
        return grpc.method_handlers_generic_handler(wire.SERVICE, handlers)

    def describe(self, data: bytes, _context: grpc.ServicerContext) -> Any:
        """The site's facts."""
        wire.decode_describe(data)
        return wire.encode_facts(self._site.facts())

    def commit(self, data: bytes, _context: grpc.ServicerContext) -> Any:
        """Consent to a schedule."""
        self._site.commit(wire.decode_schedule(data))
        return wire.encode_consent()

    def train(self, data: bytes, context: grpc.ServicerContext) -> Any:
        """A release."""
        request = wire.decode_train(data)
        with self._turn(context):
            return wire.encode_update(self._site.train(request))

    def vote(self, data: bytes, context: grpc.ServicerContext) -> Any:
        """A noised histogram."""
        request = wire.decode_vote(data)
        with self._turn(context):
            return wire.encode_histogram(self._site.vote(request))

    def evaluate(self, data: bytes, context: grpc.ServicerContext) -> Any:
        """A noised count."""
        request = wire.decode_evaluate(data)
        with self._turn(context):
            return wire.encode_metric(self._site.evaluate(request))

    def deliver(self, data: bytes, context: grpc.ServicerContext) -> Any:
        """Keep what a run ends with."""
        delivery = wire.decode_deliver(data)
        with self._turn(context):
            self._site.deliver(delivery)
        return wire.encode_consent()

    @contextmanager
    def _turn(self, context: grpc.ServicerContext) -> Iterator[None]:
        left_s = context.time_remaining()
        wait_s = self._queue_s if left_s is None else max(0.0, min(self._queue_s, left_s))
        if not self._busy.acquire(timeout=wait_s):
            raise Refusal(RefusalCode.UNAVAILABLE, f"another request was in work for {wait_s:g} s")
        try:
            yield
        finally:  # a failure must not be told by its time either
            if self._slot_s:
                self._sleep(self._slot_s - self._clock() % self._slot_s)
            self._busy.release()


class CodesOnly(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Whatever a method raises leaves as one of the refusal codes."""

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wrap the methods of our service; the health check knows nothing that could leak."""
        found, method = continuation(handler_call_details), handler_call_details.method
        if found is None or not method.startswith(_PREFIX):
            return found
        serve = _codes_only(found.unary_unary, method.removeprefix(_PREFIX))
        return grpc.unary_unary_rpc_method_handler(serve, response_serializer=found.response_serializer)


def build_server(service: Service, layout: Layout) -> tuple[grpc.Server, health.HealthServicer]:
    """A server that is not bound or started yet, and what tells its health.

    Args:
        service: over a site.
        layout: of the site's adapter, which bounds the size of an honest message.
    """
    limit = largest_message(layout)
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="site"),
        interceptors=(CodesOnly(),),
        maximum_concurrent_rpcs=_THREADS,
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers((service.handler(),))
    status = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    for name in ("", wire.SERVICE):
        status.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    return server, status


def set_serving(status: health.HealthServicer) -> None:
    """Tell those who ask that requests are served."""
    for name in ("", wire.SERVICE):
        status.set(name, health_pb2.HealthCheckResponse.SERVING)


def largest_message(layout: Layout) -> int:
    """Bytes of the largest honest message: a vector with a scale a segment or a run's papers, or bins."""
    beside = max(_BYTES_PER_SCALE * len(layout.segments), sum(PAPERS.values()))
    vector = _BYTES_PER_VALUE * (layout.state_size + 1) + beside
    return max(vector, _BYTES_PER_VALUE * MAX_BINS * DIMENSION) + _ROOM_FOR_NAMES


def _codes_only(serve: Method, method: str) -> Method:
    def answer(data: bytes, context: grpc.ServicerContext) -> Any:
        try:
            return serve(data, context)
        except Refusal as refusal:
            _log.warning("refused %s: %s", method, refusal)
            return wire.encode_refusal(refusal.code)
        except LedgerError as error:  # a full disk, say: its line tells what to mend
            _log.error("failed to serve %s: %s", method, error)
            return wire.encode_refusal(RefusalCode.UNAVAILABLE)
        except Exception:  # whatever it is, its text must not leave
            _log.exception("failed to serve %s", method)
            return wire.encode_refusal(RefusalCode.UNAVAILABLE)

    return answer


def _serialize(reply: Any) -> bytes:
    data: bytes = reply.SerializeToString()
    return data
