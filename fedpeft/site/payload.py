# SPDX-License-Identifier: Apache-2.0
"""A release as bytes, for the ledger's store: what was sent once is sent again as it was."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from fedpeft.errors import EventError, LedgerError
from fedpeft.privacy.events import event_from_json, event_to_json
from fedpeft.privacy.histogram import PrivateHistogram
from fedpeft.privacy.metric import PrivateMetric
from fedpeft.types import PrivacyEvent, PrivateUpdate

_SEPARATOR = b"\n"

T = TypeVar("T")
Release = TypeVar("Release", PrivateUpdate, PrivateHistogram)
_COUNT: Final = struct.Struct("<dd")


def to_bytes(release: PrivateUpdate | PrivateHistogram) -> bytes:
    """A line of JSON, then the values as little-endian float32."""
    return _header(release) + np.ascontiguousarray(release.values, dtype="<f4").tobytes()


def from_bytes(payload: bytes) -> PrivateUpdate:
    """The update that ``to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no update.
    """
    return _values_of(payload, PrivateUpdate)


def histogram_from_bytes(payload: bytes) -> PrivateHistogram:
    """The histogram that ``to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no histogram.
    """
    return _values_of(payload, PrivateHistogram)


def metric_to_bytes(metric: PrivateMetric) -> bytes:
    """A line of JSON, then the count and what it is out of; as long for one count as for another."""
    return _header(metric) + _COUNT.pack(metric.correct, metric.declared)


def metric_from_bytes(payload: bytes) -> PrivateMetric:
    """The release that ``metric_to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no such release.
    """

    def read(header: _Header, rest: bytes) -> PrivateMetric:
        correct, declared = _COUNT.unpack(rest)
        return PrivateMetric(header.request_id, correct, declared, header.event, header.ledger_head)

    return _parsed(payload, PrivateMetric, read)


def _values_of(payload: bytes, kind: type[Release]) -> Release:
    def read(header: _Header, rest: bytes) -> Release:
        return kind(header.request_id, np.frombuffer(rest, dtype="<f4"), header.event, header.ledger_head)

    return _parsed(payload, kind, read)


class _Header(NamedTuple):
    request_id: str
    event: PrivacyEvent
    ledger_head: str


def _header(release: PrivateUpdate | PrivateHistogram | PrivateMetric) -> bytes:
    header = {
        "kind": type(release).__name__,
        "request_id": release.request_id,
        "event": event_to_json(release.event),
        "ledger_head": release.ledger_head,
    }
    return json.dumps(header).encode() + _SEPARATOR


def _parsed(payload: bytes, kind: type[Any], read: Callable[[_Header, bytes], T]) -> T:
    head, separator, rest = payload.partition(_SEPARATOR)
    try:
        fields = json.loads(head)
        if fields["kind"] != kind.__name__:
            raise ValueError(f"it is a {fields['kind']}, not a {kind.__name__}")
        event = event_from_json(fields["event"])
        found = read(_Header(fields["request_id"], event, fields["ledger_head"]), rest)
    except (ValueError, KeyError, TypeError, EventError, struct.error) as error:
        raise LedgerError(
            f"releases: a stored release cannot be read ({error}); restore the ledger"
        ) from error
    if not separator:
        raise LedgerError("releases: a stored release is cut short; restore the ledger")
    return found
