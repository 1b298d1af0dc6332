# SPDX-License-Identifier: Apache-2.0
"""A hostile coordinator: each request is refused before data are read, and the ledger stays as it was.

What it says to deliveries is in ``tests/site/test_inbox.py``, what it draws at random in
``tests/simulations/test_fuzz_site.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fedpeft.data.embedding import DIMENSION
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import MAX_BINS, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.site import wire
from fedpeft.site.remote import RemoteSite
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, TrainRequest
from simulations.fuzz.organization import NOISE, SCHEDULE, Watch, with_site

RATE = SCHEDULE.sampling_rate
TOO_MUCH = np.zeros(2 * MAX_BINS * DIMENSION, np.float32)

HOSTILE: dict[str, tuple[dict, RefusalCode]] = {
    "multiplier 0": ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
    "less noise": ({"noise_multiplier": NOISE / 2}, RefusalCode.POLICY),
    "rate above 1": ({"sampling_rate": 1.5}, RefusalCode.MALFORMED),
    "rate above what was committed": ({"sampling_rate": 0.6}, RefusalCode.POLICY),
    "scales NaN": ({"scales": float("nan")}, RefusalCode.MALFORMED),
    "scales 0": ({"scales": 0.0}, RefusalCode.MALFORMED),
    "a million steps": ({"local_steps": 10**6}, RefusalCode.BUDGET),
    "more steps than integers": ({"local_steps": 2**63 - 1}, RefusalCode.MALFORMED),
    "no such run": ({"run_id": "another"}, RefusalCode.POLICY),
    "a path for a run": ({"run_id": "../../etc/passwd"}, RefusalCode.MALFORMED),
    "a path for a request": ({"request_id": "/etc/passwd"}, RefusalCode.MALFORMED),
    "a line break": ({"request_id": "run:site0:1\nforged"}, RefusalCode.MALFORMED),
    "adapter NaN": ({"adapter": float("nan")}, RefusalCode.MALFORMED),
    "a shorter adapter": ({"adapter": np.zeros(3, np.float32)}, RefusalCode.MALFORMED),
    "a message too large": ({"adapter": TOO_MUCH}, RefusalCode.UNAVAILABLE),
    "another layout": ({"layout_digest": "0" * 64}, RefusalCode.MALFORMED),
    "another clipping": ({"clipping": "none"}, RefusalCode.MALFORMED),
    "weights of tasks": ({"task_weights": (("a", 0.5), ("b", 1.0))}, RefusalCode.POLICY),
    "weights that are none": ({"task_weights": (("a", float("nan")),)}, RefusalCode.MALFORMED),
    "another protocol": ({"protocol": 2}, RefusalCode.PROTOCOL),
    "a head that never was": ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
}

GREEDY: dict[str, tuple[Schedule, RefusalCode]] = {
    "another unit": (dataclasses.replace(SCHEDULE, run_id="b", unit="patient"), RefusalCode.POLICY),
    "another stage": (dataclasses.replace(SCHEDULE, run_id="b", stage="selection"), RefusalCode.POLICY),
    "a second run": (dataclasses.replace(SCHEDULE, run_id="b"), RefusalCode.BUDGET),
    "multiplier 0": (Schedule.constant("b", 0.0, RATE, 1, "record"), RefusalCode.MALFORMED),
    "rate above 1": (Schedule.constant("b", 1.0, 1.5, 1, "record"), RefusalCode.MALFORMED),
    "a million steps": (Schedule.constant("b", 1.0, RATE, 10**6, "record"), RefusalCode.BUDGET),
    "a path": (Schedule.constant("../b", 1.0, RATE, 1, "record"), RefusalCode.MALFORMED),
    "the same run again, otherwise": (dataclasses.replace(SCHEDULE, sampling_rate=0.4), RefusalCode.REPLAY),
    "the filter's name": (dataclasses.replace(SCHEDULE, run_id="filter"), RefusalCode.MALFORMED),
    "ten thousand parts": (Schedule("b", ((1.0, 1),) * 2000, RATE, "record"), RefusalCode.MALFORMED),
}


VOTES: dict[str, tuple[dict, RefusalCode]] = {
    "multiplier 0": ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
    "less noise": ({"noise_multiplier": 0.1}, RefusalCode.POLICY),
    "no such run": ({"run_id": "another"}, RefusalCode.POLICY),
    "a path for a request": ({"request_id": "../v"}, RefusalCode.MALFORMED),
    "another map": ({"embedding": "mine"}, RefusalCode.MALFORMED),
    "all neighbours": ({"neighbours": 2**40}, RefusalCode.MALFORMED),
    "bins NaN": ({"bins": np.full((2, DIMENSION), np.nan, np.float32)}, RefusalCode.MALFORMED),
    "no bins": ({"bins": np.zeros((0, DIMENSION), np.float32)}, RefusalCode.MALFORMED),
    "another protocol": ({"protocol": 2}, RefusalCode.PROTOCOL),
}

COUNTS: dict[str, tuple[dict, RefusalCode]] = {
    "multiplier 0": ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
    "less noise": ({"noise_multiplier": 0.1}, RefusalCode.POLICY),
    "no such run": ({"run_id": "another"}, RefusalCode.POLICY),
    "a path for a run": ({"run_id": "/etc/passwd"}, RefusalCode.MALFORMED),
    "adapter NaN": ({"adapter": float("nan")}, RefusalCode.MALFORMED),
    "another layout": ({"layout_digest": "0" * 64}, RefusalCode.MALFORMED),
    "another protocol": ({"protocol": 2}, RefusalCode.PROTOCOL),
}


class Besieged:
    """A site in this process with one run committed, and what shows that nothing was touched."""

    def __init__(self, remote: RemoteSite, sound: dict[str, bytes], watch: Watch) -> None:
        self.remote = remote
        self.watch = watch
        self.request: TrainRequest = dataclasses.replace(
            wire.decode_train(sound[wire.TRAIN]), request_id="run:site0:9", local_steps=1
        )
        self.vote: VoteRequest = wire.decode_vote(sound[wire.VOTE])
        self.count: EvaluateRequest = wire.decode_evaluate(sound[wire.EVALUATE])
        remote.commit(SCHEDULE)

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        before, reads = self.watch.state(), self.watch.reads
        yield
        assert self.watch.state() == before
        assert self.watch.reads == reads
        assert self.watch.failures == []
        assert self.remote.is_healthy()


@pytest.fixture(scope="module")
def besieged() -> Iterator[Besieged]:
    ready, over, made = threading.Event(), threading.Event(), []

    def wait(*given: Any) -> None:
        try:
            made.append(Besieged(*given))
        finally:
            ready.set()
        assert over.wait(900)

    thread = threading.Thread(target=with_site, args=(wait,))
    thread.start()
    assert ready.wait(120)
    try:
        yield made[0]
    finally:
        over.set()
        thread.join()


def _changed(request: Any, changes: dict) -> Any:
    full = dict(changes)
    if isinstance(full.get("scales"), float):
        full["scales"] = (full["scales"],) * len(request.scales)
    if isinstance(full.get("adapter"), float):
        full["adapter"] = np.full_like(request.adapter, full["adapter"])
    return dataclasses.replace(request, **full)


def _refusal(ask: Callable[[], object]) -> RefusalCode | None:
    try:
        ask()
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, cases in (("train", HOSTILE), ("vote", VOTES), ("evaluate", COUNTS))
        for name in cases
    ],
)
def test_a_hostile_request_is_refused(besieged: Besieged, kind: str, name: str) -> None:
    plain, cases = {
        "train": (besieged.request, HOSTILE),
        "vote": (besieged.vote, VOTES),
        "evaluate": (besieged.count, COUNTS),
    }[kind]
    changes, code = cases[name]
    with besieged.untouched():
        assert _refusal(lambda: getattr(besieged.remote, kind)(_changed(plain, changes))) is code


@pytest.mark.parametrize("name", GREEDY)
def test_a_hostile_schedule_is_refused(besieged: Besieged, name: str) -> None:
    schedule, code = GREEDY[name]
    with besieged.untouched():
        assert _refusal(lambda: besieged.remote.commit(schedule)) is code


def test_a_sound_request_is_served_and_its_id_with_other_content_is_refused(besieged: Besieged) -> None:
    """What was refused left the site as it was."""
    reads = besieged.watch.reads
    assert isinstance(besieged.remote.train(besieged.request), PrivateUpdate)
    assert besieged.watch.reads == reads + 1
    for changes in ({"learning_rate": 9.0}, {"adapter": 1.0}, {"round_number": 2}, {"clipping": "automatic"}):
        other = _changed(besieged.request, changes)
        with besieged.untouched():
            assert _refusal(lambda other=other: besieged.remote.train(other)) is RefusalCode.REPLAY


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def test_a_message_of_three_gigabytes_is_refused_before_it_is_taken_in(besieged: Besieged) -> None:
    """HTTP/2 by hand, as no honest library sends so much: a prefix that announces 3 GB, then some of it."""
    data, headers, settings, rst_stream, goaway = 0, 1, 4, 3, 7
    path = f"/{wire.SERVICE}/{wire.TRAIN}".encode()
    fields = b"\x83\x86\x04" + _text(path) + b"\x01" + _text(b"localhost")
    fields += b"\x0f\x10" + _text(b"application/grpc") + b"\x00" + _text(b"te") + _text(b"trailers")
    announced = b"\x00" + struct.pack(">I", 3 * 2**30) + b"\0" * 8000
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with besieged.untouched(), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(besieged.remote._target.removeprefix("unix:"))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(settings, 0, 0, b""))
        connection.sendall(_frame(headers, 0x4, 1, fields) + _frame(data, 0, 1, announced))
        stream = connection.makefile("rb")
        while True:  # until the site ends the stream, though 3 GB less 8000 bytes are still to come
            head = stream.read(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            answer = stream.read(length)
            assert kind != goaway, answer
            if kind == rst_stream or (kind == headers and flags & 0x1):
                break
    assert b"update" not in answer
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb < 256 * 1024
