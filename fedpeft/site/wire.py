# SPDX-License-Identifier: Apache-2.0
"""Requests and answers as the messages of ``site.proto``, on both sides of a site's socket.

What has no function here has no way out. Reading checks types and the protocol's version only; the ranges of
a request are the site's to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fedpeft.delivery import PAPERS, Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.site import site_pb2 as pb
from fedpeft.site.encoding import from_event, named, parse, to_bytes, to_event, to_hex, to_vector
from fedpeft.site.fields import refuse_malformed
from fedpeft.types import (
    PROTOCOL_VERSION,
    FloatVector,
    PrivacyEvent,
    PrivateUpdate,
    RefusalCode,
    Schedule,
    SiteFacts,
    TrainRequest,
)

SERVICE: Final = "fedpeft.site.v1.Site"
DESCRIBE, COMMIT, TRAIN = "Describe", "Commit", "Train"
VOTE, EVALUATE, DELIVER = "Vote", "Evaluate", "Deliver"

_CODES: Final[Mapping[RefusalCode, Any]] = {
    code: pb.RefusalCode.Value(f"REFUSAL_CODE_{code.name}") for code in RefusalCode
}
_SAME_NAME: Final = (
    "run_id", "request_id", "round_number", "local_steps", "learning_rate", "noise_multiplier",
    "sampling_rate", "clipping", "layout_digest", "ledger_head", "protocol", "stage", "rank",
)  # fmt: skip
_SAME_IN_VOTE: Final = (
    "run_id", "request_id", "noise_multiplier", "embedding", "neighbours", "ledger_head", "protocol",
)  # fmt: skip

_SAME_IN_EVALUATION: Final = (
    "run_id", "request_id", "noise_multiplier", "layout_digest", "ledger_head", "protocol",
)  # fmt: skip
_SAME_IN_DELIVERY: Final = ("run_id", "layout_digest", *PAPERS, "digest", "protocol")


def encode_describe() -> pb.DescribeRequest:
    """Ask for a site's facts."""
    return pb.DescribeRequest(protocol=PROTOCOL_VERSION)


def decode_describe(data: bytes) -> None:
    """Check that this is what was asked.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    parse(pb.DescribeRequest(), data)


def encode_schedule(schedule: Schedule) -> pb.CommitRequest:
    """A whole run, to be committed."""
    return pb.CommitRequest(
        protocol=PROTOCOL_VERSION,
        run_id=schedule.run_id,
        stage=schedule.stage,
        unit=schedule.unit,
        sampling_rate=schedule.sampling_rate,
        parts=[pb.Part(noise_multiplier=multiplier, steps=steps) for multiplier, steps in schedule.parts],
        votes=[pb.Votes(stage=stage, noise_multiplier=m, releases=n) for stage, m, n in schedule.votes],
    )


def decode_schedule(data: bytes) -> Schedule:
    """The schedule; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = named(parse(pb.CommitRequest(), data))
    parts = tuple((part.noise_multiplier, part.steps) for part in found.parts)
    votes = tuple((vote.stage, vote.noise_multiplier, vote.releases) for vote in found.votes)
    return Schedule(found.run_id, parts, found.sampling_rate, found.unit, found.stage, votes)


def encode_train(request: TrainRequest) -> pb.TrainRequest:
    """One round's request."""
    fields = {name: getattr(request, name) for name in _SAME_NAME}
    weights = [pb.TaskWeight(task=task, weight=weight) for task, weight in request.task_weights]
    adapter = to_bytes(request.adapter)
    return pb.TrainRequest(**fields, scales=request.scales, adapter=adapter, task_weights=weights)


def decode_train(data: bytes) -> TrainRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = named(parse(pb.TrainRequest(), data))
    fields = {name: getattr(found, name) for name in _SAME_NAME}
    return TrainRequest(
        **fields,
        scales=tuple(found.scales),
        adapter=to_vector("adapter", found.adapter),
        task_weights=tuple((one.task, one.weight) for one in found.task_weights),
    )


def encode_vote(request: VoteRequest) -> pb.VoteRequest:
    """A vote that is asked for."""
    fields = {name: getattr(request, name) for name in _SAME_IN_VOTE}
    return pb.VoteRequest(**fields, dimension=request.bins.shape[1], bins=to_bytes(request.bins.ravel()))


def decode_vote(data: bytes) -> VoteRequest:
    """The request, its bins read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = named(parse(pb.VoteRequest(), data))
    fields = {name: getattr(found, name) for name in _SAME_IN_VOTE}
    flat = to_vector("bins", found.bins)
    refuse_malformed({"dimension": 1 <= found.dimension <= flat.size and flat.size % found.dimension == 0})
    return VoteRequest(**fields, bins=flat.reshape(-1, found.dimension))


def encode_evaluate(request: EvaluateRequest) -> pb.EvaluateRequest:
    """A private evaluation that is asked for."""
    fields = {name: getattr(request, name) for name in _SAME_IN_EVALUATION}
    return pb.EvaluateRequest(**fields, adapter=to_bytes(request.adapter))


def decode_evaluate(data: bytes) -> EvaluateRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = named(parse(pb.EvaluateRequest(), data))
    fields = {name: getattr(found, name) for name in _SAME_IN_EVALUATION}
    return EvaluateRequest(**fields, adapter=to_vector("adapter", found.adapter))


def encode_deliver(delivery: Delivery) -> pb.DeliverRequest:
    """A run's adapter and result."""
    fields = {name: getattr(delivery, name) for name in _SAME_IN_DELIVERY}
    return pb.DeliverRequest(**fields, adapter=to_bytes(delivery.adapter))


def decode_deliver(data: bytes) -> Delivery:
    """The delivery, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = named(parse(pb.DeliverRequest(), data))
    fields = {name: getattr(found, name) for name in _SAME_IN_DELIVERY}
    return Delivery(**fields, adapter=to_vector("adapter", found.adapter))


def encode_facts(facts: SiteFacts) -> pb.Reply:
    """The public facts of a site."""
    head = bytes.fromhex(facts.ledger_head)
    content = pb.Facts(
        name=facts.name,
        declared_units=facts.declared_units,
        unit=facts.unit,
        epsilon=facts.epsilon,
        delta=facts.delta,
        ledger_head=head,
        crash_reserve=facts.crash_reserve,
    )
    return pb.Reply(protocol=facts.protocol, facts=content)


def decode_facts(data: bytes) -> SiteFacts:
    """The facts.

    Raises:
        Refusal: the site's own, or of what is no such answer.
    """
    found = _answer(data, "facts").facts
    head = to_hex(found.ledger_head)
    return SiteFacts(
        name=found.name,
        declared_units=found.declared_units,
        unit=found.unit,
        epsilon=found.epsilon,
        delta=found.delta,
        ledger_head=head,
        crash_reserve=found.crash_reserve,
    )


def encode_consent() -> pb.Reply:
    """A site's yes to a schedule."""
    return pb.Reply(protocol=PROTOCOL_VERSION, consent=pb.Consent())


def decode_consent(data: bytes) -> None:
    """Return where the site consents.

    Raises:
        Refusal: the site's own, or of what is no consent.
    """
    _answer(data, "consent")


def encode_update(update: PrivateUpdate) -> pb.Reply:
    """A release and what it cost. Its request's id is the asker's own, so it is not sent back."""
    return pb.Reply(protocol=PROTOCOL_VERSION, update=_release(update))


def encode_histogram(histogram: PrivateHistogram) -> pb.Reply:
    """A noised histogram and what it cost."""
    return pb.Reply(protocol=PROTOCOL_VERSION, histogram=_release(histogram))


def encode_metric(metric: PrivateMetric) -> pb.Reply:
    """A noised count and what it cost."""
    content = pb.Metric(
        correct=metric.correct,
        declared=metric.declared,
        event=to_event(metric.event),
        ledger_head=bytes.fromhex(metric.ledger_head),
    )
    return pb.Reply(protocol=PROTOCOL_VERSION, metric=content)


def decode_update(data: bytes, request_id: str) -> PrivateUpdate:
    """The release that answers the request of this id.

    Raises:
        Refusal: the site's own, or of what is no release.
    """
    return PrivateUpdate(request_id, *_parts(_answer(data, "update").update))


def decode_histogram(data: bytes, request_id: str) -> PrivateHistogram:
    """The histogram that answers the request of this id.

    Raises:
        Refusal: the site's own, or of what is no histogram.
    """
    return PrivateHistogram(request_id, *_parts(_answer(data, "histogram").histogram))


def decode_metric(data: bytes, request_id: str) -> PrivateMetric:
    """The count that answers the request of this id.

    Raises:
        Refusal: the site's own, or of what is no count.
    """
    found = _answer(data, "metric").metric
    head = to_hex(found.ledger_head)
    return PrivateMetric(request_id, found.correct, found.declared, from_event(found.event), head)


def encode_refusal(code: RefusalCode) -> pb.Reply:
    """A code and nothing more."""
    return pb.Reply(protocol=PROTOCOL_VERSION, refusal=_CODES[code])


def _answer(data: bytes, kind: str) -> pb.Reply:
    reply = parse(pb.Reply(), data)
    given = reply.WhichOneof("answer")
    if given == "refusal":
        codes = {number: code for code, number in _CODES.items()}
        raise Refusal(codes.get(reply.refusal, RefusalCode.UNAVAILABLE), "by the site")
    refuse_malformed({"answer": given == kind})
    return reply


def _release(release: PrivateUpdate | PrivateHistogram) -> pb.Update:
    head = bytes.fromhex(release.ledger_head)
    return pb.Update(values=to_bytes(release.values), event=to_event(release.event), ledger_head=head)


def _parts(found: pb.Update) -> tuple[FloatVector, PrivacyEvent, str]:
    return to_vector("values", found.values), from_event(found.event), to_hex(found.ledger_head)
