# SPDX-License-Identifier: Apache-2.0
"""Hostile and malformed requests: each is refused before data are read, and the ledger stays as it was."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from fedpeft.data.embedding import DIMENSION
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import MAX_BINS, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.site import site as site_module
from fedpeft.site import site_pb2 as pb
from fedpeft.site import wire
from fedpeft.site.remote import RemoteSite
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, TrainRequest

MULTIPLIER, RATE, STEPS = 1.5, 0.5, 4
SCHEDULE = Schedule.constant("run", MULTIPLIER, RATE, STEPS, "record")
EVALUATE = EvaluateRequest("run", "run:site0:e", 6.5, "d", np.ones(3, np.float32), "")
VOTE = VoteRequest("run", "run:site0:v", 6.5, "map", 1, np.ones((3, 2), np.float32), "")
TOO_MUCH = np.zeros(2 * MAX_BINS * DIMENSION, np.float32)
NUM_FUZZ = 300

HOSTILE: dict[str, tuple[dict, RefusalCode]] = {
    "multiplier 0": ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
    "less noise": ({"noise_multiplier": MULTIPLIER / 2}, RefusalCode.POLICY),
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
    "another stage": (dataclasses.replace(SCHEDULE, run_id="b", stage="synthesis"), RefusalCode.POLICY),
    "a second run": (dataclasses.replace(SCHEDULE, run_id="b"), RefusalCode.BUDGET),
    "multiplier 0": (Schedule.constant("b", 0.0, RATE, 1, "record"), RefusalCode.MALFORMED),
    "rate above 1": (Schedule.constant("b", 1.0, 1.5, 1, "record"), RefusalCode.MALFORMED),
    "a million steps": (Schedule.constant("b", 1.0, RATE, 10**6, "record"), RefusalCode.BUDGET),
    "a path": (Schedule.constant("../b", 1.0, RATE, 1, "record"), RefusalCode.MALFORMED),
    "the same run again, otherwise": (dataclasses.replace(SCHEDULE, sampling_rate=0.4), RefusalCode.REPLAY),
    "the filter's name": (dataclasses.replace(SCHEDULE, run_id="filter"), RefusalCode.MALFORMED),
    "ten thousand parts": (Schedule("b", ((1.0, 1),) * 2000, RATE, "record"), RefusalCode.MALFORMED),
}


def _changed(request: TrainRequest, changes: dict) -> TrainRequest:
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


def test_hostile_requests_are_refused_before_data_are_read(
    resident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = site_module.local_update
    monkeypatch.setattr(site_module, "local_update", lambda *given: reads.append(1) or real(*given))
    request, found, same_id = resident.request(), {}, {}

    def ask(remote: RemoteSite) -> None:
        remote.commit(SCHEDULE)
        before = resident.rows()
        for name, (changes, _) in HOSTILE.items():
            hostile = _changed(request, changes)
            found[name] = _refusal(lambda hostile=hostile: remote.train(hostile))
        for name, (schedule, _) in GREEDY.items():
            found[f"commit {name}"] = _refusal(lambda schedule=schedule: remote.commit(schedule))
        assert resident.rows() == before
        assert reads == []
        assert isinstance(remote.train(request), PrivateUpdate)  # what was refused left the site as it was
        assert reads == [1]
        before = resident.rows()
        for name, changes in {"rate": {"learning_rate": 9.0}, "adapter": {"adapter": 1.0}}.items():
            other = _changed(request, changes)
            same_id[name] = _refusal(lambda other=other: remote.train(other))
        assert resident.rows() == before
        assert reads == [1]

    resident.serve(ask)
    expected = {name: code for name, (_, code) in HOSTILE.items()}
    expected |= {f"commit {name}": code for name, (_, code) in GREEDY.items()}
    assert found == expected
    assert set(same_id.values()) == {RefusalCode.REPLAY}


_NASTY_PARTS = {
    "Votes": [pb.Votes(), pb.Votes(stage="synthesis", noise_multiplier=float("nan"), releases=-1)],
    "Part": [pb.Part(), pb.Part(noise_multiplier=float("nan"), steps=-1)],
    "TaskWeight": [pb.TaskWeight(), pb.TaskWeight(task="x", weight=float("inf"))],
}


def _nasty(rng: random.Random, message: Any) -> None:
    """Set one field to a value that its type can hold and no honest request would have."""
    field = rng.choice(message.DESCRIPTOR.fields)
    values: dict[int, list[Any]] = {
        field.TYPE_DOUBLE: [0.0, -1.0, float("nan"), float("inf"), 1e308, 5e-324],
        field.TYPE_INT64: [0, -1, 2**63 - 1, -(2**63), 10**6],
        field.TYPE_UINT32: [0, 2, 2**32 - 1],
        field.TYPE_STRING: [
            "",
            "x" * 5000,
            "../../x",
            "\0",
            "\u202e",
            "run",
            "filter",
            "'; DROP TABLE events",
        ],
        field.TYPE_BYTES: [b"", b"\0", rng.randbytes(17), b"\xff" * 4000],
    }
    if field.type == field.TYPE_MESSAGE:
        values[field.type] = _NASTY_PARTS[field.message_type.name]
    value = rng.choice(values[field.type])
    if field.is_repeated:
        items = getattr(message, field.name)
        del items[rng.randrange(len(items) + 1) :]
        items.extend([value] * rng.randrange(4))
    else:
        setattr(message, field.name, value)


def _malformed(rng: random.Random, request: TrainRequest) -> Iterator[tuple[str, bytes]]:
    makers = {
        wire.DESCRIBE: wire.encode_describe,
        wire.COMMIT: lambda: wire.encode_schedule(SCHEDULE),
        wire.TRAIN: lambda: wire.encode_train(request),
        wire.VOTE: lambda: wire.encode_vote(VOTE),
        wire.EVALUATE: lambda: wire.encode_evaluate(EVALUATE),
    }
    for _ in range(NUM_FUZZ):
        method, make = rng.choice(list(makers.items()))
        message = make()
        for _ in range(rng.randrange(1, 4)):
            _nasty(rng, message)
        data = bytearray(message.SerializeToString())
        for _ in range(rng.randrange(3) if data else 0):
            data[rng.randrange(min(len(data), 300))] = rng.randrange(256)
        yield method, bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def test_malformed_requests_change_nothing(resident: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a site whose run is used up, so that an accidentally sound request is refused as well."""
    request = resident.request(local_steps=STEPS)
    rng = random.Random(7)
    kinds: dict[str, int] = {}

    def ask(remote: RemoteSite) -> None:
        remote.commit(SCHEDULE)
        remote.train(request)
        before = resident.rows()
        monkeypatch.setattr(site_module, "local_update", lambda *_: pytest.fail("data were read"))
        with grpc.insecure_channel(remote._target) as channel:
            for method, data in _malformed(rng, request):
                answer = channel.unary_unary(f"/{wire.SERVICE}/{method}")(data, timeout=120)
                reply = pb.Reply.FromString(answer)
                kind = reply.WhichOneof("answer")
                if kind == "update":  # the request as it was: its own release again
                    assert len(reply.update.values) == 4 * request.adapter.size
                kinds[kind] = kinds.get(kind, 0) + 1
                assert reply.refusal != pb.REFUSAL_CODE_UNAVAILABLE, (method, data)
        assert resident.rows() == before
        assert remote.is_healthy()

    resident.serve(ask)
    assert kinds["refusal"] > NUM_FUZZ / 2
