# SPDX-License-Identifier: Apache-2.0
"""What travels between coordinator and site: five kinds of content and a refusal code, nothing else.

The tables below are the whole contract of what can leave a site; a value that has no line here has no
serializer. Reading is strict: another protocol version, a field that is missing, unknown or of another
type, and a number that is not finite are refused.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedpeft.errors import EventError, Refusal
from fedpeft.privacy.events import check_event
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

Fields = Mapping[str, type]

_FACTS: Fields = {
    "name": str, "declared_units": int, "unit": str, "epsilon": float, "delta": float, "ledger_head": str,
}  # fmt: skip
_SCHEDULE: Fields = {
    "run_id": str, "noise_multipliers": list, "steps": list, "sampling_rate": float, "unit": str,
    "stage": str,
}  # fmt: skip
_REQUEST: Fields = {
    "run_id": str, "request_id": str, "round_number": int, "local_steps": int, "learning_rate": float,
    "noise_multiplier": float, "sampling_rate": float, "scales": list, "clipping": str, "layout_digest": str,
    "ledger_head": str, "tasks": list, "task_weights": list,
}  # fmt: skip
_EVENT: Fields = {
    "kind": str, "noise_multiplier": float, "sampling_rate": float, "steps": int, "unit": str,
}  # fmt: skip
_UPDATE: Fields = {"request_id": str, "ledger_head": str, **_EVENT}
_REFUSAL: Fields = {"code": str}
_NOTHING: Fields = {}

_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_FIELDS, _VECTOR = "fedpeft", "vector"
_DTYPE, _RAW_FLOATS = "float32", "fedpeft.float32.little-endian"


def encode_describe() -> RecordDict:
    """Ask for a site's facts."""
    return _pack("describe", {})


def decode_describe(content: RecordDict) -> None:
    """Check that this is what was asked.

    Raises:
        Refusal: it is something else.
    """
    _unpack(content, "describe", _NOTHING)


def encode_facts(facts: SiteFacts) -> RecordDict:
    """The public facts of a site."""
    return _pack("facts", _read(facts, _FACTS), protocol=facts.protocol)


def decode_facts(content: RecordDict) -> SiteFacts:
    """The facts, in their ranges; the name is safe in a file name.

    Raises:
        Refusal: the site's own, or of content that is no ``SiteFacts``.
    """
    facts = SiteFacts(**_unpack(content, "facts", _FACTS))
    _require("name", _SITE_NAME.fullmatch(facts.name) is not None)
    _require("declared_units", facts.declared_units >= 1)
    _require("epsilon", facts.epsilon >= 0)
    _require("delta", 0 <= facts.delta < 1)
    _require("unit", _is_line(facts.unit))
    _require("ledger_head", _is_line(facts.ledger_head))
    return facts


def encode_schedule(schedule: Schedule) -> RecordDict:
    """A whole run, to be committed; its parts as one list of multipliers and one of steps."""
    fields = {name: getattr(schedule, name) for name in ("run_id", "unit", "stage")}
    return _pack(
        "schedule",
        fields
        | {
            "sampling_rate": float(schedule.sampling_rate),
            "noise_multipliers": [float(multiplier) for multiplier, _ in schedule.parts],
            "steps": [operator.index(steps) for _, steps in schedule.parts],
        },
    )


def decode_schedule(content: RecordDict) -> Schedule:
    """The schedule; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``Schedule``.
    """
    fields = _unpack(content, "schedule", _SCHEDULE)
    multipliers, steps = fields.pop("noise_multipliers"), fields.pop("steps")
    _require("noise_multipliers", all(_is_number(multiplier) for multiplier in multipliers))
    _require("steps", len(steps) == len(multipliers) and all(type(number) is int for number in steps))
    return Schedule(**fields, parts=tuple(zip(multipliers, steps, strict=True)))


def encode_consent() -> RecordDict:
    """A site's yes to a schedule."""
    return _pack("consent", {})


def decode_consent(content: RecordDict) -> None:
    """Return where the site consents.

    Raises:
        Refusal: the site's own, or of content that is no consent.
    """
    _unpack(content, "consent", _NOTHING)


def encode_vector(vector: FloatVector) -> ArrayRecord:
    """One array, whatever the number of segments: what Flower charges for is objects, not bytes.

    Its bytes never change, so requests to many sites may share one record.
    """
    data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
    return ArrayRecord({_VECTOR: Array(_DTYPE, (len(vector),), _RAW_FLOATS, data)})


def encode_request(request: TrainRequest, adapter: ArrayRecord) -> RecordDict:
    """One round's request; ``adapter`` is ``encode_vector(request.adapter)``."""
    lists = {
        "scales": [float(scale) for scale in request.scales],
        "tasks": [task for task, _ in request.task_weights],
        "task_weights": [float(weight) for _, weight in request.task_weights],
    }
    plain = {name: kind for name, kind in _REQUEST.items() if name not in lists}
    return _pack("request", _read(request, plain) | lists, vector=adapter, protocol=request.protocol)


def decode_request(content: RecordDict) -> TrainRequest:
    """The request, its adapter read-only; its ranges are the site's to check.

    Raises:
        Refusal: it is no ``TrainRequest``.
    """
    fields = _unpack(content, "request", _REQUEST, has_vector=True)
    scales, tasks, weights = (fields.pop(name) for name in ("scales", "tasks", "task_weights"))
    _require("scales", all(_is_number(scale) for scale in scales))
    _require("tasks", len(tasks) == len(weights) and all(type(task) is str for task in tasks))
    _require("task_weights", all(_is_number(weight) for weight in weights))
    by_task = tuple(zip(tasks, weights, strict=True))
    adapter = _unpack_vector(content)
    return TrainRequest(**fields, scales=tuple(scales), adapter=adapter, task_weights=by_task)


def encode_update(update: PrivateUpdate) -> RecordDict:
    """A release and what it cost."""
    fields = {"request_id": update.request_id, "ledger_head": update.ledger_head}
    return _pack("update", fields | _read(update.event, _EVENT), vector=encode_vector(update.values))


def decode_update(content: RecordDict) -> PrivateUpdate:
    """The release, its event one that an accountant can compose; what was asked is not known here.

    Raises:
        Refusal: the site's own, or of content that is no ``PrivateUpdate``.
    """
    fields = _unpack(content, "update", _UPDATE, has_vector=True)
    event = PrivacyEvent(**{name: fields.pop(name) for name in _EVENT})
    try:
        check_event(event)
    except EventError as error:
        raise Refusal(RefusalCode.MALFORMED, str(error)) from error
    _require("ledger_head", _is_line(fields["ledger_head"]))
    return PrivateUpdate(**fields, event=event, values=_unpack_vector(content))


def encode_refusal(code: RefusalCode) -> RecordDict:
    """A code and nothing more: the reason stays in the site's own log."""
    return _pack("refusal", {"code": code.value})


def _read(value: object, fields: Fields) -> dict[str, Any]:
    convert: dict[type, Callable[[Any], Any]] = {float: float, int: operator.index, str: str, list: list}
    return {name: convert[kind](getattr(value, name)) for name, kind in fields.items()}


def _pack(
    kind: str,
    fields: Mapping[str, Any],
    *,
    vector: ArrayRecord | None = None,
    protocol: int = PROTOCOL_VERSION,
) -> RecordDict:
    content = RecordDict({_FIELDS: ConfigRecord({"message": kind, "protocol": protocol, **fields})})
    if vector is not None:
        content[_VECTOR] = vector
    return content


def _unpack(content: RecordDict, kind: str, fields: Fields, *, has_vector: bool = False) -> dict[str, Any]:
    record = _record(content, _FIELDS, ConfigRecord)
    protocol = record.pop("protocol", None)
    if type(protocol) is not int or protocol != PROTOCOL_VERSION:
        raise Refusal(RefusalCode.PROTOCOL, f"protocol: {protocol!r}, this version speaks {PROTOCOL_VERSION}")
    message = record.pop("message", None)
    if message == "refusal" and kind in ("facts", "consent", "update"):
        _check(content, record, _REFUSAL, has_vector=False)
        _require("code", record["code"] in set(RefusalCode))
        raise Refusal(RefusalCode(record["code"]), "by the site")
    _require("message", message == kind)
    _check(content, record, fields, has_vector=has_vector)
    return record


def _check(content: RecordDict, record: dict[str, Any], fields: Fields, *, has_vector: bool) -> None:
    _require("records", set(content) == ({_FIELDS, _VECTOR} if has_vector else {_FIELDS}))
    _require("fields", set(record) == set(fields))
    for name, kind in fields.items():
        _require(name, type(record[name]) is kind)
        _require(name, kind is not float or math.isfinite(record[name]))


def _unpack_vector(content: RecordDict) -> FloatVector:
    arrays = _record(content, _VECTOR, ArrayRecord)
    _require("arrays", set(arrays) == {_VECTOR})
    array = arrays[_VECTOR]
    _require("dtype", (array.dtype, array.stype) == (_DTYPE, _RAW_FLOATS))
    _require("shape", len(array.shape) == 1 and len(array.data) == 4 * array.shape[0])
    return np.frombuffer(array.data, dtype="<f4").astype(np.float32, copy=False)


def _record(content: RecordDict, name: str, kind: type[Any]) -> dict[str, Any]:
    # Not ``content.array_records``: that makes a cycle that keeps the whole content until the collector runs.
    record: Any = content.get(name)
    return dict(record) if isinstance(record, kind) else {}


def _is_number(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _is_line(text: str) -> bool:
    return len(text) <= 200 and text.isprintable()


def _require(name: str, good: bool) -> None:
    if not good:
        raise Refusal(RefusalCode.MALFORMED, name)
