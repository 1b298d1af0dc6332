# SPDX-License-Identifier: Apache-2.0
"""What travels between coordinator and site: ten kinds of content and a refusal code, nothing else.

An eleventh, what a deployed run ends with, goes to a site only and is in ``delivering``. The tables below are
the whole contract of what can leave a site; a value that has no line here has no serializer. Reading is
strict: another protocol version, a field that is missing, unknown or of another type, and a number that is
not finite are refused.
"""

from __future__ import annotations

import operator
import re
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from fedpeft.errors import EventError, Refusal
from fedpeft.flower.packing import (
    Fields,
    is_line,
    is_number,
    pack,
    read,
    require,
    unpack,
    unpack_narrow,
    unpack_vector,
)
from fedpeft.flower.packing import encode_vector as encode_vector
from fedpeft.privacy.events import MAX_CRASH_RESERVE, check_event
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.types import (
    PrivacyEvent,
    PrivateUpdate,
    RefusalCode,
    Schedule,
    SiteFacts,
    TrainRequest,
)

_FACTS: Fields = {
    "name": str, "declared_units": int, "unit": str, "epsilon": float, "delta": float, "ledger_head": str,
    "crash_reserve": int,
}  # fmt: skip
_SCHEDULE: Fields = {
    "run_id": str, "noise_multipliers": list, "steps": list, "sampling_rate": float, "unit": str,
    "stage": str, "vote_stages": list, "vote_multipliers": list, "vote_releases": list,
}  # fmt: skip
_REQUEST: Fields = {
    "run_id": str, "request_id": str, "round_number": int, "local_steps": int, "learning_rate": float,
    "noise_multiplier": float, "sampling_rate": float, "scales": list, "clipping": str, "layout_digest": str,
    "ledger_head": str, "tasks": list, "task_weights": list, "stage": str, "rank": int,
}  # fmt: skip
_EVENT: Fields = {
    "kind": str, "noise_multiplier": float, "sampling_rate": float, "steps": int, "unit": str,
}  # fmt: skip
_RELEASE: Fields = {"request_id": str, "ledger_head": str, **_EVENT}
_VOTE: Fields = {
    "run_id": str, "request_id": str, "noise_multiplier": float, "embedding": str, "neighbours": int,
    "dimension": int, "ledger_head": str,
}  # fmt: skip
_EVALUATE: Fields = {
    "run_id": str, "request_id": str, "noise_multiplier": float, "layout_digest": str, "ledger_head": str,
}  # fmt: skip
_COUNT: Fields = {"correct": float, "declared": float}
_NOTHING: Fields = {}

_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def encode_describe() -> RecordDict:
    """Ask for a site's facts."""
    return pack("describe", {})


def decode_describe(content: RecordDict) -> None:
    """Check that this is what was asked.

    Raises:
        Refusal: it is something else.
    """
    unpack(content, "describe", _NOTHING)


def encode_facts(facts: SiteFacts) -> RecordDict:
    """The public facts of a site."""
    return pack("facts", read(facts, _FACTS), protocol=facts.protocol)


def decode_facts(content: RecordDict) -> SiteFacts:
    """The facts, in their ranges; the name is safe in a file name.

    Raises:
        Refusal: the site's own, or of content that is no ``SiteFacts``.
    """
    facts = SiteFacts(**unpack(content, "facts", _FACTS))
    require("name", _SITE_NAME.fullmatch(facts.name) is not None)
    require("declared_units", facts.declared_units >= 1)
    require("epsilon", facts.epsilon >= 0)
    require("delta", 0 <= facts.delta < 1)
    require("unit", is_line(facts.unit))
    require("ledger_head", is_line(facts.ledger_head))
    require("crash_reserve", 0 <= facts.crash_reserve <= MAX_CRASH_RESERVE)
    return facts


def encode_schedule(schedule: Schedule) -> RecordDict:
    """A whole run, to be committed; its parts as one list of multipliers and one of steps."""
    fields = {name: getattr(schedule, name) for name in ("run_id", "unit", "stage")}
    return pack(
        "schedule",
        fields
        | {
            "sampling_rate": float(schedule.sampling_rate),
            "noise_multipliers": [float(multiplier) for multiplier, _ in schedule.parts],
            "steps": [operator.index(steps) for _, steps in schedule.parts],
            "vote_stages": [stage for stage, _, _ in schedule.votes],
            "vote_multipliers": [float(multiplier) for _, multiplier, _ in schedule.votes],
            "vote_releases": [operator.index(number) for _, _, number in schedule.votes],
        },
    )


def decode_schedule(content: RecordDict) -> Schedule:
    """The schedule; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``Schedule``.
    """
    fields = unpack(content, "schedule", _SCHEDULE)
    multipliers, steps = fields.pop("noise_multipliers"), fields.pop("steps")
    require("noise_multipliers", all(is_number(multiplier) for multiplier in multipliers))
    require("steps", len(steps) == len(multipliers) and all(type(number) is int for number in steps))
    stages, noises, releases = (fields.pop(f"vote_{name}") for name in ("stages", "multipliers", "releases"))
    require("vote_stages", all(type(stage) is str for stage in stages))
    require("vote_multipliers", len(noises) == len(stages) and all(map(is_number, noises)))
    require("vote_releases", len(releases) == len(stages) and all(type(n) is int for n in releases))
    parts, votes = zip(multipliers, steps, strict=True), zip(stages, noises, releases, strict=True)
    return Schedule(**fields, parts=tuple(parts), votes=tuple(votes))


def encode_consent() -> RecordDict:
    """A site's yes to a schedule."""
    return pack("consent", {})


def decode_consent(content: RecordDict) -> None:
    """Return where the site consents.

    Raises:
        Refusal: the site's own, or of content that is no consent.
    """
    unpack(content, "consent", _NOTHING)


def encode_request(request: TrainRequest, adapter: ArrayRecord) -> RecordDict:
    """One round's request; ``adapter`` is ``encode_vector(request.adapter, request.wire_type)``."""
    lists = {
        "scales": [float(scale) for scale in request.scales],
        "tasks": [task for task, _ in request.task_weights],
        "task_weights": [float(weight) for _, weight in request.task_weights],
    }
    plain = {name: kind for name, kind in _REQUEST.items() if name not in lists}
    return pack("request", read(request, plain) | lists, vector=adapter, protocol=request.protocol)


def decode_request(content: RecordDict) -> TrainRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``TrainRequest``.
    """
    fields = unpack(content, "request", _REQUEST, has_vector=True)
    scales, tasks, weights = (fields.pop(name) for name in ("scales", "tasks", "task_weights"))
    require("scales", all(is_number(scale) for scale in scales))
    require("tasks", len(tasks) == len(weights) and all(type(task) is str for task in tasks))
    require("task_weights", all(is_number(weight) for weight in weights))
    by_task = tuple(zip(tasks, weights, strict=True))
    adapter, wire_type = unpack_narrow(content)
    return TrainRequest(
        **fields, scales=tuple(scales), adapter=adapter, task_weights=by_task, wire_type=wire_type
    )


def encode_update(update: PrivateUpdate, wire_type: str = "float32") -> RecordDict:
    """A release and what it cost, rounded on its way as its request was."""
    return _pack_release("update", update, wire_type)


def decode_update(content: RecordDict) -> PrivateUpdate:
    """The release, its event one that an accountant can compose; what was asked is not known here.

    Raises:
        Refusal: the site's own, or of content that is no ``PrivateUpdate``.
    """
    return PrivateUpdate(**_unpack_release(content, "update"))


def encode_vote(request: VoteRequest, bins: ArrayRecord) -> RecordDict:
    """A vote that is asked for; ``bins`` is ``encode_vector`` of the flattened ``request.bins``."""
    fields = {name: getattr(request, name) for name in _VOTE if name != "dimension"}
    fields |= {"noise_multiplier": float(request.noise_multiplier), "dimension": int(request.bins.shape[1])}
    return pack("vote", fields, vector=bins, protocol=request.protocol)


def decode_vote(content: RecordDict) -> VoteRequest:
    """The request, its bins read-only; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``VoteRequest``.
    """
    fields = unpack(content, "vote", _VOTE, has_vector=True)
    flat, dimension = unpack_vector(content), fields.pop("dimension")
    require("dimension", dimension >= 1 and flat.size % dimension == 0)
    return VoteRequest(**fields, bins=flat.reshape(-1, dimension))


def encode_histogram(histogram: PrivateHistogram) -> RecordDict:
    """A noised histogram and what it cost."""
    return _pack_release("histogram", histogram)


def decode_histogram(content: RecordDict) -> PrivateHistogram:
    """The histogram, its event one that an accountant can compose; what was asked is not known here.

    Raises:
        Refusal: the site's own, or of content that is no ``PrivateHistogram``.
    """
    return PrivateHistogram(**_unpack_release(content, "histogram"))


def encode_evaluate(request: EvaluateRequest, adapter: ArrayRecord) -> RecordDict:
    """A private evaluation that is asked for; ``adapter`` is ``encode_vector(request.adapter)``."""
    return pack("evaluate", read(request, _EVALUATE), vector=adapter, protocol=request.protocol)


def decode_evaluate(content: RecordDict) -> EvaluateRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``EvaluateRequest``.
    """
    fields = unpack(content, "evaluate", _EVALUATE, has_vector=True)
    return EvaluateRequest(**fields, adapter=unpack_vector(content))


def encode_metric(metric: PrivateMetric) -> RecordDict:
    """A noised count and what it cost."""
    fields = {"request_id": metric.request_id, "ledger_head": metric.ledger_head}
    return pack("metric", fields | read(metric, _COUNT) | read(metric.event, _EVENT))


def decode_metric(content: RecordDict) -> PrivateMetric:
    """The count, its event one that an accountant can compose; what was asked is not known here.

    Raises:
        Refusal: the site's own, or of content that is no ``PrivateMetric``.
    """
    fields = unpack(content, "metric", {**_RELEASE, **_COUNT})
    return PrivateMetric(**_with_event(fields))


def encode_refusal(code: RefusalCode) -> RecordDict:
    """A code and nothing more: the reason stays in the site's own log."""
    return pack("refusal", {"code": code.value})


def _pack_release(
    kind: str, release: PrivateUpdate | PrivateHistogram, wire_type: str = "float32"
) -> RecordDict:
    fields = {"request_id": release.request_id, "ledger_head": release.ledger_head}
    return pack(kind, fields | read(release.event, _EVENT), vector=encode_vector(release.values, wire_type))


def _unpack_release(content: RecordDict, kind: str) -> dict[str, Any]:
    fields = unpack(content, kind, _RELEASE, has_vector=True)
    return {**_with_event(fields), "values": unpack_narrow(content)[0]}


def _with_event(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a release, those of its event put together."""
    event = PrivacyEvent(**{name: fields.pop(name) for name in _EVENT})
    try:
        check_event(event)
    except EventError as error:
        raise Refusal(RefusalCode.MALFORMED, str(error)) from error
    require("ledger_head", is_line(fields["ledger_head"]))
    return {**fields, "event": event}
