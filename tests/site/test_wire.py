# SPDX-License-Identifier: Apache-2.0
"""What is asked and answered over the socket arrives as it was sent, and what is no message is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.site import site_pb2 as pb
from fedpeft.site import wire
from fedpeft.types import PrivacyEvent, PrivateUpdate, RefusalCode, Schedule, SiteFacts, TrainRequest

HEAD = "0f" * 32
VOTES = (("synthesis", 6.5, 1), ("selection", 0.1 + 0.2, 2))
SCHEDULE = Schedule("run", ((1.25, 3), (0.1 + 0.2, 4)), 0.1, "patient", votes=VOTES)
FACTS = SiteFacts("st-mary", 4000, "patient", 8.0, 1e-5, HEAD)
REQUEST = TrainRequest(
    run_id="run",
    request_id="run:st-mary:1",
    round_number=1,
    local_steps=2,
    learning_rate=0.3,
    noise_multiplier=1.1,
    sampling_rate=1 / 3,
    scales=(1.0, 0.7),
    clipping="automatic",
    layout_digest="d" * 64,
    adapter=np.array([1.5, -2.25, 3e-8], dtype=np.float32),
    ledger_head=HEAD,
)
UPDATE = PrivateUpdate(
    REQUEST.request_id,
    np.array([0.1, -0.2, 7.0], dtype=np.float32),
    PrivacyEvent("poisson-gaussian", 1.1, 1 / 3, 2, "patient"),
    HEAD,
)
EVALUATE = EvaluateRequest(
    "run", "run:st-mary:evaluation after", 6.5, "d" * 64, np.array([1.5, -2.0], np.float32), HEAD
)
METRIC = PrivateMetric(
    "run:st-mary:evaluation after", -1.75, 4.5, PrivacyEvent("gaussian", 6.5, 1.0, 1, "patient"), HEAD
)
VOTE = VoteRequest("run", "run:v", 6.5, "map", 2, np.arange(6, dtype=np.float32).reshape(3, 2), HEAD)
HISTOGRAM = PrivateHistogram(
    "run:v", np.array([0.5, -3.0], dtype=np.float32), PrivacyEvent("gaussian", 6.5, 1.0, 1, "patient"), HEAD
)


def _sent(message) -> bytes:
    return message.SerializeToString()


def test_requests_arrive_as_they_were_sent() -> None:
    wire.decode_describe(_sent(wire.encode_describe()))
    assert wire.decode_schedule(_sent(wire.encode_schedule(SCHEDULE))) == SCHEDULE
    arrived = wire.decode_train(_sent(wire.encode_train(REQUEST)))
    assert arrived.digest() == REQUEST.digest()
    assert arrived.ledger_head == REQUEST.ledger_head
    assert arrived.adapter.dtype == np.float32
    assert not arrived.adapter.flags.writeable


@pytest.mark.parametrize(
    "field",
    [f.name for f in dataclasses.fields(TrainRequest) if f.name != "wire_type"],  # the courier's
)
def test_every_field_of_a_request_is_sent(field: str) -> None:
    other = {
        "scales": (2.0, 0.7),
        "task_weights": (("answer", 0.5), ("find", 1.0)),
        "adapter": np.zeros(3, dtype=np.float32),
        "protocol": 1,
        "stage": "synthesis",
        **dict.fromkeys(("run_id", "request_id", "clipping", "layout_digest", "ledger_head"), "other"),
        **dict.fromkeys(("round_number", "local_steps", "rank"), 7),
        **dict.fromkeys(("learning_rate", "noise_multiplier", "sampling_rate"), 0.25),
    }
    changed = dataclasses.replace(REQUEST, **{field: other[field]})
    arrived = getattr(wire.decode_train(_sent(wire.encode_train(changed))), field)
    assert type(arrived) is type(other[field])
    assert np.array_equal(arrived, other[field])


def test_votes_arrive_as_they_were_sent() -> None:
    arrived = wire.decode_vote(_sent(wire.encode_vote(VOTE)))
    assert (arrived.digest(), arrived.ledger_head) == (VOTE.digest(), HEAD)
    histogram = wire.decode_histogram(_sent(wire.encode_histogram(HISTOGRAM)), "run:v")
    assert histogram.values.tobytes() == HISTOGRAM.values.tobytes()
    assert dataclasses.replace(histogram, values=None) == dataclasses.replace(HISTOGRAM, values=None)


def test_a_delivery_arrives_as_it_was_sent() -> None:
    sent = Delivery.of("run", "d" * 64, np.array([1.5, 3e-8], np.float32), b'{"a": 1}', b"x = 1", b"{}\n")
    arrived = wire.decode_deliver(_sent(wire.encode_deliver(sent)))
    assert arrived.content_digest() == sent.digest == arrived.digest
    assert (arrived.run_id, arrived.layout_digest, arrived.result) == ("run", "d" * 64, b'{"a": 1}')
    assert (arrived.config, arrived.rounds) == (b"x = 1", b"{}\n")


@pytest.mark.parametrize("run_id", ["../../etc", "/etc/cron.d/x", "a/b", "", "a\n", "\0"])
def test_a_delivery_names_no_path(run_id: str) -> None:
    message = wire.encode_deliver(Delivery.of("run", "d" * 64, np.zeros(2, np.float32), b"{}"))
    message.run_id = run_id
    with pytest.raises(Refusal, match="run_id"):
        wire.decode_deliver(_sent(message))


@pytest.mark.parametrize("dimension", [0, -1, 4])
def test_bins_that_are_no_table_are_refused(dimension: int) -> None:
    message = wire.encode_vote(VOTE)
    message.dimension = dimension
    with pytest.raises(Refusal, match="dimension"):
        wire.decode_vote(_sent(message))


def test_a_private_evaluation_arrives_as_it_was_sent() -> None:
    arrived = wire.decode_evaluate(_sent(wire.encode_evaluate(EVALUATE)))
    assert (arrived.digest(), arrived.ledger_head) == (EVALUATE.digest(), HEAD)
    assert wire.decode_metric(_sent(wire.encode_metric(METRIC)), "run:st-mary:evaluation after") == METRIC
    with pytest.raises(Refusal, match="malformed"):
        wire.decode_metric(_sent(wire.encode_update(UPDATE)), "run:st-mary:evaluation after")


def test_an_update_is_no_histogram() -> None:
    with pytest.raises(Refusal, match="malformed"):
        wire.decode_histogram(_sent(wire.encode_update(UPDATE)), "run:v")


def test_answers_arrive_as_they_were_sent() -> None:
    assert wire.decode_facts(_sent(wire.encode_facts(FACTS))) == FACTS
    wire.decode_consent(_sent(wire.encode_consent()))
    arrived = wire.decode_update(_sent(wire.encode_update(UPDATE)), REQUEST.request_id)
    assert arrived.values.tobytes() == UPDATE.values.tobytes()
    assert dataclasses.replace(arrived, values=None) == dataclasses.replace(UPDATE, values=None)


@pytest.mark.parametrize("code", RefusalCode)
@pytest.mark.parametrize(
    "decode", [wire.decode_facts, wire.decode_consent, lambda data: wire.decode_update(data, "id")]
)
def test_a_refusal_stands_for_any_answer(decode, code: RefusalCode) -> None:
    with pytest.raises(Refusal) as caught:
        decode(_sent(wire.encode_refusal(code)))
    assert caught.value.code is code


@pytest.mark.parametrize(
    "decode", [wire.decode_describe, wire.decode_schedule, wire.decode_train, wire.decode_deliver]
)
def test_another_protocol_and_what_is_no_message_are_refused(decode) -> None:
    other = pb.DescribeRequest(protocol=2)
    for data, code in (
        (_sent(other), RefusalCode.PROTOCOL),
        (b"", RefusalCode.PROTOCOL),
        (b"\xff" * 40, RefusalCode.MALFORMED),
    ):
        with pytest.raises(Refusal) as caught:
            decode(data)
        assert caught.value.code is code


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.ClearField("update"),
        lambda reply: reply.consent.SetInParent(),
        lambda reply: setattr(reply.update, "values", b"123"),
        lambda reply: setattr(reply.update, "ledger_head", b"short"),
        lambda reply: setattr(reply.update.event, "kind", 0),
        lambda reply: setattr(reply.update.event, "kind", 77),
    ],
)
def test_an_answer_that_is_none_is_refused(change) -> None:
    reply = wire.encode_update(UPDATE)
    change(reply)
    with pytest.raises(Refusal, match="malformed"):
        wire.decode_update(_sent(reply), "id")
