# SPDX-License-Identifier: Apache-2.0
"""A site behind a socket: the same answers as in one process, codes for what goes wrong, one at a time.

The servers here are real and listen at Unix sockets in a folder of their own.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from fedpeft.errors import LedgerError, MechanismError, Refusal
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.site import service, wire
from fedpeft.site import site_pb2 as pb
from fedpeft.site.remote import RemoteSite
from fedpeft.types import (
    Layout,
    PrivacyEvent,
    PrivateUpdate,
    RefusalCode,
    Schedule,
    Segment,
    SiteFacts,
    TrainRequest,
)

LAYOUT = Layout((Segment("a", 0, "q", (3,), 0),))
HEAD = "ab" * 32
SECRET = "patient Ada Lovelace, 36, shortness of breath"
SCHEDULE = Schedule.constant("run", 1.1, 0.1, 6, "record")
REQUEST = TrainRequest(
    "run", "run:here:1", 1, 1, 0.5, 1.1, 0.1, (1.0,), "flat", "d", np.ones(3, np.float32), HEAD
)
EVENT = PrivacyEvent("poisson-gaussian", 1.1, 0.1, 1, "record")
VOTE = VoteRequest("run", "run:here:v", 6.5, "map", 1, np.ones((3, 2), np.float32), HEAD)
VOTED = PrivacyEvent("gaussian", 6.5, 1.0, 1, "record")


class FakeSite:
    """Answers what it was asked, or raises."""

    def __init__(self, raises: BaseException | None = None) -> None:
        self.asked: list[object] = []
        self.raises = raises
        self.work: Callable[[], None] = lambda: None

    def facts(self) -> SiteFacts:
        self._note("facts")
        return SiteFacts("here", 10, "record", 8.0, 1e-5, HEAD)

    def commit(self, schedule: Schedule) -> None:
        self._note(schedule)

    def train(self, request: TrainRequest) -> PrivateUpdate:
        self._note(request.digest())
        self.work()
        return PrivateUpdate(request.request_id, 2 * request.adapter, EVENT, HEAD)

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        self._note(request.digest())
        return PrivateHistogram(request.request_id, request.bins[:, 0], VOTED, HEAD)

    def _note(self, what: object) -> None:
        self.asked.append(what)
        if self.raises is not None:
            raise self.raises


Listen = Callable[..., RemoteSite]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's is at most 107 bytes long."""
    made = Path(tempfile.mkdtemp(prefix="fp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def listen(folder: Path) -> Iterator[Listen]:
    servers: list[grpc.Server] = []

    def start(site: FakeSite, queue_s: float = 30.0, serving: bool = True) -> RemoteSite:
        server, status = service.build_server(site, layout=LAYOUT, queue_s=queue_s)
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
}


def test_a_site_behind_a_socket_answers_as_it_does_in_the_process(listen: Listen) -> None:
    site = FakeSite()
    remote = listen(site)
    assert remote.facts() == FakeSite().facts()
    assert remote.commit(SCHEDULE) is None
    assert remote.train(REQUEST).values.tolist() == [2.0, 2.0, 2.0]
    assert remote.train(REQUEST).event == EVENT
    assert remote.vote(VOTE).values.tolist() == [1.0, 1.0, 1.0]
    assert remote.vote(VOTE).event == VOTED
    digests = [request.digest() for request in (REQUEST, REQUEST, VOTE, VOTE)]
    assert site.asked == ["facts", SCHEDULE, *digests]


@pytest.mark.parametrize("method", ASK)
@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusal_arrives_as_its_code(listen: Listen, method: str, code: RefusalCode) -> None:
    with pytest.raises(Refusal) as caught:
        ASK[method](listen(FakeSite(Refusal(code, SECRET))))
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
}


@pytest.mark.parametrize("method", MESSAGES)
@pytest.mark.parametrize(
    "error",
    [ValueError(SECRET), LedgerError(SECRET), MechanismError(SECRET), MemoryError(SECRET), KeyError(SECRET)],
    ids=lambda error: type(error).__name__,
)
def test_no_text_of_an_exception_leaves(
    listen: Listen, method: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        sent = _everything_sent(listen(FakeSite(error)), method, MESSAGES[method])
    assert sent == repr(wire.encode_refusal(RefusalCode.UNAVAILABLE).SerializeToString())
    assert SECRET in caplog.text  # the site's own log has it


def test_without_the_interceptor_the_text_would_leave(
    listen: Listen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the test above looks at is where gRPC puts the text."""
    monkeypatch.setattr(service.CodesOnly, "intercept_service", lambda self, go_on, details: go_on(details))
    sent = _everything_sent(listen(FakeSite(ValueError(SECRET))), wire.DESCRIBE, MESSAGES[wire.DESCRIBE])
    assert SECRET in sent


def test_another_protocol_is_refused_before_the_site_is_asked(listen: Listen) -> None:
    site = FakeSite()
    remote = listen(site)
    with pytest.raises(Refusal) as caught:
        remote.train(dataclasses.replace(REQUEST, protocol=2))
    assert caught.value.code is RefusalCode.PROTOCOL
    for method in MESSAGES:
        assert _everything_sent(remote, method, pb.DescribeRequest(protocol=7)) == repr(
            wire.encode_refusal(RefusalCode.PROTOCOL).SerializeToString()
        )
    assert site.asked == []


def test_a_message_that_is_too_large_does_not_reach_the_site(listen: Listen) -> None:
    site = FakeSite()
    remote = listen(site)
    limit = service.largest_message(LAYOUT)
    fits = dataclasses.replace(REQUEST, adapter=np.zeros((limit - 1000) // 4, np.float32))
    remote.train(fits)
    with pytest.raises(Refusal) as caught:
        remote.train(dataclasses.replace(REQUEST, adapter=np.zeros(limit // 4 + 1, np.float32)))
    assert caught.value.code is RefusalCode.UNAVAILABLE
    assert len(site.asked) == 1


@pytest.mark.parametrize("changes", [{"local_steps": 2**70}, {"run_id": "\ud800"}])
def test_what_no_message_can_hold_is_refused_by_the_courier(listen: Listen, changes: dict) -> None:
    site = FakeSite()
    with pytest.raises(Refusal) as caught:
        listen(site).train(dataclasses.replace(REQUEST, **changes))
    assert caught.value.code is RefusalCode.MALFORMED
    assert site.asked == []


def test_one_training_at_a_time_and_the_others_wait_no_longer_than_the_queue(listen: Listen) -> None:
    begun, end = threading.Event(), threading.Event()
    site = FakeSite()

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


def test_health_is_told(listen: Listen, folder: Path) -> None:
    assert listen(FakeSite()).is_healthy()
    assert not listen(FakeSite(), serving=False).is_healthy()
    assert not RemoteSite(folder / "nobody.sock").is_healthy()


@pytest.mark.parametrize("method", ASK)
def test_a_site_that_is_not_there_is_unavailable(folder: Path, method: str) -> None:
    with pytest.raises(Refusal) as caught:
        ASK[method](RemoteSite(folder / "nobody.sock", answer_s=60, train_s=60))
    assert caught.value.code is RefusalCode.UNAVAILABLE
