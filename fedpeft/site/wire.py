# SPDX-License-Identifier: Apache-2.0
"""Requests and answers as the messages of ``site.proto``, on both sides of a site's socket.

What has no function here has no way out. Reading checks types and the protocol's version only; the ranges of
a request are the site's to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from fedpeft.errors import Refusal
from fedpeft.privacy.events import GAUSSIAN, POISSON_GAUSSIAN
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.site import site_pb2 as pb
from fedpeft.site.fields import check_protocol, refuse_malformed
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
DESCRIBE, COMMIT, TRAIN, VOTE = "Describe", "Commit", "Train", "Vote"

_CODES: Final[Mapping[RefusalCode, Any]] = {
    code: pb.RefusalCode.Value(f"REFUSAL_CODE_{code.name}") for code in RefusalCode
}
_KINDS: Final[Mapping[str, Any]] = {
    POISSON_GAUSSIAN: pb.EVENT_KIND_POISSON_GAUSSIAN,
    GAUSSIAN: pb.EVENT_KIND_GAUSSIAN,
}
_DIGEST_BYTES: Final = 32
_SAME_NAME: Final = (
    "run_id", "request_id", "round_number", "local_steps", "learning_rate", "noise_multiplier",
    "sampling_rate", "clipping", "layout_digest", "ledger_head", "protocol",
)  # fmt: skip
_SAME_IN_VOTE: Final = (
    "run_id", "request_id", "noise_multiplier", "embedding", "neighbours", "ledger_head", "protocol",
)  # fmt: skip

AnyMessage = TypeVar("AnyMessage", bound=Message)


def encode_describe() -> pb.DescribeRequest:
    """Ask for a site's facts."""
    return pb.DescribeRequest(protocol=PROTOCOL_VERSION)


def decode_describe(data: bytes) -> None:
    """Check that this is what was asked.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    _parse(pb.DescribeRequest(), data)


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
    found = _parse(pb.CommitRequest(), data)
    parts = tuple((part.noise_multiplier, part.steps) for part in found.parts)
    votes = tuple((vote.stage, vote.noise_multiplier, vote.releases) for vote in found.votes)
    return Schedule(found.run_id, parts, found.sampling_rate, found.unit, found.stage, votes)


def encode_train(request: TrainRequest) -> pb.TrainRequest:
    """One round's request."""
    fields = {name: getattr(request, name) for name in _SAME_NAME}
    weights = [pb.TaskWeight(task=task, weight=weight) for task, weight in request.task_weights]
    adapter = _to_bytes(request.adapter)
    return pb.TrainRequest(**fields, scales=request.scales, adapter=adapter, task_weights=weights)


def decode_train(data: bytes) -> TrainRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = _parse(pb.TrainRequest(), data)
    fields = {name: getattr(found, name) for name in _SAME_NAME}
    return TrainRequest(
        **fields,
        scales=tuple(found.scales),
        adapter=_to_vector("adapter", found.adapter),
        task_weights=tuple((one.task, one.weight) for one in found.task_weights),
    )


def encode_vote(request: VoteRequest) -> pb.VoteRequest:
    """A vote that is asked for."""
    fields = {name: getattr(request, name) for name in _SAME_IN_VOTE}
    return pb.VoteRequest(**fields, dimension=request.bins.shape[1], bins=_to_bytes(request.bins.ravel()))


def decode_vote(data: bytes) -> VoteRequest:
    """The request, its bins read-only; its ranges are the site's to check.

    Raises:
        Refusal: ``PROTOCOL`` or ``MALFORMED``.
    """
    found = _parse(pb.VoteRequest(), data)
    fields = {name: getattr(found, name) for name in _SAME_IN_VOTE}
    flat = _to_vector("bins", found.bins)
    refuse_malformed({"dimension": found.dimension >= 1 and flat.size % max(found.dimension, 1) == 0})
    return VoteRequest(**fields, bins=flat.reshape(-1, found.dimension))


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
    )
    return pb.Reply(protocol=facts.protocol, facts=content)


def decode_facts(data: bytes) -> SiteFacts:
    """The facts.

    Raises:
        Refusal: the site's own, or of what is no such answer.
    """
    found = _answer(data, "facts").facts
    head = _to_hex(found.ledger_head)
    return SiteFacts(found.name, found.declared_units, found.unit, found.epsilon, found.delta, head)


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


def _release(release: PrivateUpdate | PrivateHistogram) -> pb.Update:
    event = release.event
    cost = pb.Event(
        kind=_KINDS[event.kind],
        noise_multiplier=event.noise_multiplier,
        sampling_rate=event.sampling_rate,
        steps=event.steps,
        unit=event.unit,
    )
    head = bytes.fromhex(release.ledger_head)
    return pb.Update(values=_to_bytes(release.values), event=cost, ledger_head=head)


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


def _parts(found: pb.Update) -> tuple[FloatVector, PrivacyEvent, str]:
    kinds = {number: kind for kind, number in _KINDS.items()}
    refuse_malformed({"kind": found.event.kind in kinds})
    event = PrivacyEvent(
        kinds[found.event.kind],
        found.event.noise_multiplier,
        found.event.sampling_rate,
        found.event.steps,
        found.event.unit,
    )
    return _to_vector("values", found.values), event, _to_hex(found.ledger_head)


def encode_refusal(code: RefusalCode) -> pb.Reply:
    """A code and nothing more."""
    return pb.Reply(protocol=PROTOCOL_VERSION, refusal=_CODES[code])


def _answer(data: bytes, kind: str) -> pb.Reply:
    reply = _parse(pb.Reply(), data)
    given = reply.WhichOneof("answer")
    if given == "refusal":
        codes = {number: code for code, number in _CODES.items()}
        raise Refusal(codes.get(reply.refusal, RefusalCode.UNAVAILABLE), "by the site")
    refuse_malformed({"answer": given == kind})
    return reply


def _parse(message: AnyMessage, data: bytes) -> AnyMessage:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Refusal(RefusalCode.MALFORMED, f"{type(message).__name__}: not its bytes") from error
    version: int = getattr(message, "protocol")  # noqa: B009 - every message here has it, their base has not
    check_protocol(version)
    return message


def _to_bytes(vector: FloatVector) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def _to_vector(field: str, data: bytes) -> FloatVector:
    refuse_malformed({field: len(data) % 4 == 0})
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _to_hex(digest: bytes) -> str:
    refuse_malformed({"ledger_head": len(digest) == _DIGEST_BYTES})
    return digest.hex()
