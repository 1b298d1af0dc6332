# SPDX-License-Identifier: Apache-2.0
"""A release as bytes, for the ledger's store: what was sent once is sent again as it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TypeVar

import numpy as np

from fedpeft.errors import EventError, LedgerError
from fedpeft.privacy.events import event_from_json, event_to_json
from fedpeft.privacy.histogram import PrivateHistogram
from fedpeft.privacy.metric import PrivateMetric
from fedpeft.types import PrivateUpdate

_SEPARATOR = b"\n"

Release = TypeVar("Release", PrivateUpdate, PrivateHistogram)


def to_bytes(release: PrivateUpdate | PrivateHistogram) -> bytes:
    """A line of JSON, then the values as little-endian float32."""
    header = {
        "request_id": release.request_id,
        "event": event_to_json(release.event),
        "ledger_head": release.ledger_head,
    }
    values = np.ascontiguousarray(release.values, dtype="<f4").tobytes()
    return json.dumps(header).encode() + _SEPARATOR + values


def from_bytes(payload: bytes) -> PrivateUpdate:
    """The update that ``to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no release.
    """
    return _read(payload, PrivateUpdate)


def histogram_from_bytes(payload: bytes) -> PrivateHistogram:
    """The histogram that ``to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no release.
    """
    return _read(payload, PrivateHistogram)


def _read(payload: bytes, kind: type[Release]) -> Release:
    head, separator, values = payload.partition(_SEPARATOR)
    try:
        header = json.loads(head)
        event = event_from_json(header["event"])
        release = kind(header["request_id"], np.frombuffer(values, dtype="<f4"), event, header["ledger_head"])
    except (ValueError, KeyError, TypeError) as error:
        raise LedgerError(
            f"releases: a stored release cannot be read ({error}); restore the ledger"
        ) from error
    if not separator:
        raise LedgerError("releases: a stored release is cut short; restore the ledger")
    return release


def metric_to_bytes(metric: PrivateMetric) -> bytes:
    """A line of JSON."""
    return json.dumps(asdict(metric) | {"event": event_to_json(metric.event)}).encode()


def metric_from_bytes(payload: bytes) -> PrivateMetric:
    """The release that ``metric_to_bytes`` wrote.

    Raises:
        LedgerError: the bytes are no such release.
    """
    try:
        fields = json.loads(payload)
        return PrivateMetric(**(fields | {"event": event_from_json(fields["event"])}))
    except (ValueError, KeyError, TypeError, EventError) as error:
        raise LedgerError(
            f"releases: a stored metric cannot be read ({error}); restore the ledger"
        ) from error
