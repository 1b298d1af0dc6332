# SPDX-License-Identifier: Apache-2.0
"""A site behind a socket: the same answers as in one process, codes for what goes wrong, one at a time.

The servers here are real and listen at Unix sockets in a folder of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fedpeft.delivery import Delivery
from fedpeft.errors import LedgerError, MechanismError, Refusal
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.site import service, wire
from fedpeft.site import site_pb2 as pb
from fedpeft.site.remote import RemoteSite
from fedpeft.types import PrivacyEvent, PrivateUpdate, RefusalCode, Schedule, TrainRequest

HEAD = "ab" * 32
SECRET = "patient Ada Lovelace, 36, shortness of breath"
SCHEDULE = Schedule.constant("run", 1.1, 0.1, 6, "record")
REQUEST = TrainRequest(
    "run", "run:here:1", 1, 1, 0.5, 1.1, 0.1, (1.0,), "flat", "d", np.ones(3, np.float32), HEAD
)
EVENT = PrivacyEvent("poisson-gaussian", 1.1, 0.1, 1, "record")
VOTE = VoteRequest("run", "run:here:v", 6.5, "map", 1, np.ones((3, 2), np.float32), HEAD)
EVALUATE = EvaluateRequest("run", "run:here:e", 6.5, "d", np.ones(3, np.float32), HEAD)
DELIVERY = Delivery.of("run", "d", np.ones(3, np.float32), b'{"epsilon": 8.0}')
VOTED = PrivacyEvent("gaussian", 6.5, 1.0, 1, "record")


Listen = Callable[..., RemoteSite]


@pytest.fixture
def listen(folder: Path) -> Iterator[Listen]:
    servers: list[grpc.Server] = []

    def start(site: Any, queue_s: float = 30.0, serving: bool = True) -> RemoteSite:
        server, status = service.build_server(service.Service(site, queue_s), site.layout)
        servers.append(server)
        path = folder / f"{len(servers)}.sock"
        assert server.add_insecure_port(f"unix:{path}")
        server.start()
        if serving:
            service.set_serving(status)
        return RemoteSite(path, answer_s=60, train_s=60)

    yield start
    for server in servers:
        server.stop(0).wait(30)


ASK: dict[str, Callable[[RemoteSite], object]] = {
    "facts": lambda site: site.facts(),
    "commit": lambda site: site.commit(SCHEDULE),
    "train": lambda site: site.train(REQUEST),
    "vote": lambda site: site.vote(VOTE),
    "evaluate": lambda site: site.evaluate(EVALUATE),
    "deliver": lambda site: site.deliver(DELIVERY),
}


def test_a_site_behind_a_socket_answers_as_it_does_in_the_process(fake_site: Any, listen: Listen) -> None:
    site = fake_site()
    remote = listen(site)
    assert remote.facts() == fake_site().facts()
    assert remote.commit(SCHEDULE) is None
    assert remote.train(REQUEST).values.tolist() == [2.0, 2.0, 2.0]
    assert remote.train(REQUEST).event == EVENT
    assert remote.vote(VOTE).values.tolist() == [1.0, 1.0, 1.0]
    assert remote.vote(VOTE).event == VOTED
    assert (remote.evaluate(EVALUATE).correct, remote.evaluate(EVALUATE).declared) == (7.25, 10.0)
    assert remote.deliver(DELIVERY) is None
    digests = [request.digest() for request in (REQUEST, REQUEST, VOTE, VOTE, EVALUATE, EVALUATE)]
    assert site.asked == ["facts", SCHEDULE, *digests, DELIVERY.content_digest()]


@pytest.mark.parametrize("method", ASK)
@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusal_arrives_as_its_code(
    fake_site: Any, listen: Listen, method: str, code: RefusalCode
) -> None:
    with pytest.raises(Refusal) as caught:
        ASK[method](listen(fake_site(Refusal(code, SECRET))))
    assert caught.value.code is code
    assert SECRET not in str(caught.value)


def _everything_sent(remote: RemoteSite, method: str, message: object) -> str:
    """All that a client can see of an answer: its bytes, or its status with details and metadata."""
    with grpc.insecure_channel(remote._target) as channel:
        try:
            return repr(
                channel.unary_unary(f"/{wire.SERVICE}/{method}")(message.SerializeToString(), timeout=60)
            )
        except grpc.RpcError as error:
            return f"{error} {error.details()} {error.trailing_metadata()}"


MESSAGES = {
    wire.DESCRIBE: wire.encode_describe(),
    wire.COMMIT: wire.encode_schedule(SCHEDULE),
    wire.TRAIN: wire.encode_train(REQUEST),
    wire.VOTE: wire.encode_vote(VOTE),
    wire.EVALUATE: wire.encode_evaluate(EVALUATE),
    wire.DELIVER: wire.encode_deliver(DELIVERY),
}


@pytest.mark.parametrize("method", MESSAGES)
@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET), LedgerError(SECRET), MechanismError(SECRET), MemoryError(SECRET), KeyError(SECRET)],
    ids=lambda error: type(error).__name__,
)
def test_no_text_of_an_exception_leaves(
    fake_site: Any, listen: Listen, method: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        sent = _everything_sent(listen(fake_site(error)), method, MESSAGES[method])
    assert sent == repr(wire.encode_refusal(RefusalCode.UNAVAILABLE).SerializeToString())
    assert SECRET in caplog.text  # the site's own log has it
    assert ("Traceback" in caplog.text) != isinstance(error, LedgerError)  # which is told in one line


def test_without_the_interceptor_the_text_would_leave(
    fake_site: Any, listen: Listen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the test above looks at is where gRPC puts the text."""
    monkeypatch.setattr(service.CodesOnly, "intercept_service", lambda self, go_on, details: go_on(details))
    sent = _everything_sent(listen(fake_site(ValueError(SECRET))), wire.DESCRIBE, MESSAGES[wire.DESCRIBE])
    assert SECRET in sent


def test_another_protocol_is_refused_before_the_site_is_asked(fake_site: Any, listen: Listen) -> None:
    site = fake_site()
    remote = listen(site)
    with pytest.raises(Refusal) as caught:
        remote.train(dataclasses.replace(REQUEST, protocol=2))
    assert caught.value.code is RefusalCode.PROTOCOL
    for method in MESSAGES:
        assert _everything_sent(remote, method, pb.DescribeRequest(protocol=7)) == repr(
            wire.encode_refusal(RefusalCode.PROTOCOL).SerializeToString()
        )
    assert site.asked == []


def test_a_message_that_is_too_large_does_not_reach_the_site(fake_site: Any, listen: Listen) -> None:
    site = fake_site()
    remote = listen(site)
    limit = service.largest_message(site.layout)
    fits = dataclasses.replace(REQUEST, adapter=np.zeros((limit - 1000) // 4, np.float32))
    remote.train(fits)
    with pytest.raises(Refusal) as caught:
        remote.train(dataclasses.replace(REQUEST, adapter=np.zeros(limit // 4 + 1, np.float32)))
    assert caught.value.code is RefusalCode.UNAVAILABLE
    assert len(site.asked) == 1


@pytest.mark.parametrize("changes", [{"local_steps": 2**70}, {"run_id": "\ud800"}])
def test_what_no_message_can_hold_is_refused_by_the_courier(
    fake_site: Any, listen: Listen, changes: dict
) -> None:
    site = fake_site()
    with pytest.raises(Refusal) as caught:
        listen(site).train(dataclasses.replace(REQUEST, **changes))
    assert caught.value.code is RefusalCode.MALFORMED
    assert site.asked == []


def test_one_training_at_a_time_and_the_others_wait_no_longer_than_the_queue(
    fake_site: Any, listen: Listen
) -> None:
    begun, end = threading.Event(), threading.Event()
    site = fake_site()

    def work() -> None:
        begun.set()
        assert end.wait(60)

    site.work = work
    remote = listen(site, queue_s=0.05)
    first: list[PrivateUpdate] = []
    thread = threading.Thread(target=lambda: first.append(remote.train(REQUEST)))
    thread.start()
    try:
        assert begun.wait(60)
        with pytest.raises(Refusal) as caught:
            remote.train(dataclasses.replace(REQUEST, request_id="run:here:2"))
        assert caught.value.code is RefusalCode.UNAVAILABLE
        assert len(site.asked) == 1
        assert remote.facts().name == "here"  # who asks for facts need not wait
    finally:
        end.set()
        thread.join()
    assert len(first) == 1
    assert remote.train(REQUEST).event == EVENT


@pytest.mark.parametrize("raises", [None, ValueError(SECRET), Refusal(RefusalCode.BUDGET)])
@pytest.mark.parametrize(("now", "wait"), [(100.0, 60.0), (119.5, 0.5), (179.0, 1.0), (160.0, 20.0)])
def test_an_answer_leaves_when_its_slot_ends(
    fake_site: Any, raises: Exception | None, now: float, wait: float
) -> None:
    slept: list[float] = []
    slot_s = 20.0 if wait <= 20 else 80.0
    served = service.Service(fake_site(raises), 1.0, slot_s, clock=lambda: now, sleep=slept.append)
    context = type("Context", (), {"time_remaining": lambda self: None})()
    with contextlib.suppress(ValueError, Refusal):
        served.train(wire.encode_train(REQUEST).SerializeToString(), context)
    assert slept == [pytest.approx(wait)]
    assert not served.is_busy


def test_health_is_told(fake_site: Any, listen: Listen, folder: Path) -> None:
    assert listen(fake_site()).is_healthy()
    assert not listen(fake_site(), serving=False).is_healthy()
    assert not RemoteSite(folder / "nobody.sock").is_healthy()


@pytest.mark.parametrize("method", ASK)
def test_a_site_that_is_not_there_is_unavailable(folder: Path, method: str) -> None:
    with pytest.raises(Refusal) as caught:
        ASK[method](RemoteSite(folder / "nobody.sock", answer_s=60, train_s=60))
    assert caught.value.code is RefusalCode.UNAVAILABLE
