# SPDX-License-Identifier: Apache-2.0
"""Strict packing of flat fields and one array into Flower's records, and strict reading of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fedpeft.errors import Refusal
from fedpeft.types import PROTOCOL_VERSION, FloatVector, RefusalCode
from fedpeft.wire_types import WIRE_TYPES, narrow, widen, wire_bytes

Fields = Mapping[str, type]
"""The fields of a message and their types."""

ANSWERS = ("facts", "consent", "update", "histogram", "metric")
"""What a site may send instead of a refusal."""

_REFUSAL: Fields = {"code": str}
_FIELDS, _VECTOR = "fedpeft", "vector"
_RAW = "fedpeft.{}.little-endian"


def encode_vector(vector: FloatVector, wire_type: str = "float32") -> ArrayRecord:
    """One array, whatever the number of segments: what Flower charges for is objects, not bytes.

    Its bytes never change, so requests to many sites may share one record.
    """
    data = narrow(vector, wire_type)
    return ArrayRecord({_VECTOR: Array(wire_type, (len(vector),), _RAW.format(wire_type), data)})


def read(value: object, fields: Fields) -> dict[str, Any]:
    """The fields of ``value``, as plain numbers and texts."""
    convert: dict[type, Callable[[Any], Any]] = {float: float, int: operator.index, str: str, list: list}
    return {name: convert[kind](getattr(value, name)) for name, kind in fields.items()}


def pack(
    kind: str,
    fields: Mapping[str, Any],
    *,
    vector: ArrayRecord | None = None,
    protocol: int = PROTOCOL_VERSION,
) -> RecordDict:
    """A message of a kind, with at most one array."""
    content = RecordDict({_FIELDS: ConfigRecord({"message": kind, "protocol": protocol, **fields})})
    if vector is not None:
        content[_VECTOR] = vector
    return content


def unpack(content: RecordDict, kind: str, fields: Fields, *, has_vector: bool = False) -> dict[str, Any]:
    """The fields of a message of that kind, each of its type.

    Raises:
        Refusal: the site's own where a site answers; otherwise of content that is something else.
    """
    record = _record(content, _FIELDS, ConfigRecord)
    protocol = record.pop("protocol", None)
    if type(protocol) is not int or protocol != PROTOCOL_VERSION:
        raise Refusal(RefusalCode.PROTOCOL, f"protocol: {protocol!r}, this version speaks {PROTOCOL_VERSION}")
    message = record.pop("message", None)
    if message == "refusal" and kind in ANSWERS:
        _check(content, record, _REFUSAL, has_vector=False)
        require("code", record["code"] in set(RefusalCode))
        raise Refusal(RefusalCode(record["code"]), "by the site")
    require("message", message == kind)
    _check(content, record, fields, has_vector=has_vector)
    return record


def _check(content: RecordDict, record: dict[str, Any], fields: Fields, *, has_vector: bool) -> None:
    require("records", set(content) == ({_FIELDS, _VECTOR} if has_vector else {_FIELDS}))
    require("fields", set(record) == set(fields))
    for name, kind in fields.items():
        require(name, type(record[name]) is kind)
        require(name, kind is not float or math.isfinite(record[name]))


def unpack_vector(content: RecordDict) -> FloatVector:
    """The array of a message, of float32, read-only.

    Raises:
        Refusal: it is not what ``encode_vector`` made.
    """
    vector, wire_type = unpack_narrow(content)
    require("dtype", wire_type == "float32")
    return vector


def unpack_narrow(content: RecordDict) -> tuple[FloatVector, str]:
    """The array of a message, of any wire type, as read-only float32; and that type.

    Raises:
        Refusal: it is not what ``encode_vector`` made.
    """
    arrays = _record(content, _VECTOR, ArrayRecord)
    require("arrays", set(arrays) == {_VECTOR})
    array = arrays[_VECTOR]
    require("dtype", array.dtype in WIRE_TYPES and array.stype == _RAW.format(array.dtype))
    require("shape", len(array.shape) == 1 and len(array.data) == wire_bytes(array.shape[0], array.dtype))
    return widen(array.data, array.dtype), array.dtype


def _record(content: RecordDict, name: str, kind: type[Any]) -> dict[str, Any]:
    # Not ``content.array_records``: that makes a cycle that keeps the whole content until the collector runs.
    record: Any = content.get(name)
    return dict(record) if isinstance(record, kind) else {}


def is_number(value: object) -> bool:
    """Whether it is a finite float."""
    return type(value) is float and math.isfinite(value)


def is_line(text: str) -> bool:
    """Whether it can be stored and printed."""
    return len(text) <= 200 and text.isprintable()


def require(name: str, good: bool) -> None:
    """Refuse a message for the field ``name`` unless it is good."""
    if not good:
        raise Refusal(RefusalCode.MALFORMED, name)
