# SPDX-License-Identifier: Apache-2.0
"""Privacy events as text, and the one check that every event passes before anybody composes it.

The text stands in ledgers that any SQLite client and any other accountant may read, so it is plain JSON
with five keys. Reading is strict: what this version does not understand it refuses, because an event
that is skipped or half understood makes a guarantee false.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any, NoReturn

from fedpeft.errors import EventError
from fedpeft.types import PrivacyEvent, Schedule

POISSON_GAUSSIAN = "poisson-gaussian"
GAUSSIAN = "gaussian"
KINDS = (POISSON_GAUSSIAN, GAUSSIAN)

MIN_NOISE_MULTIPLIER = 0.1
"""One full-batch step below it costs an epsilon of more than 90; the accountants' arrays explode."""
MAX_NOISE_MULTIPLIER = 1e6
MAX_STEPS = 1_000_000
"""Beyond it the rounding errors of the accountant's Fourier transforms reach the deltas in use."""
MAX_CRASH_RESERVE = 1000
"""Rounds that a site may keep for crashes."""
MAX_NAME_LENGTH = 200

_KEYS = {"noise_multiplier", "sampling_rate", "steps", "kind", "unit"}


def check_name(field: str, value: object) -> None:
    """Accept identifiers that can be stored and printed: 1 to 200 printable characters.

    Raises:
        EventError: for anything else.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME_LENGTH or not value.isprintable():
        raise EventError(f"{field} = {value!r:.60}: must be 1 to {MAX_NAME_LENGTH} printable characters")


def check_event(event: PrivacyEvent) -> None:
    """Refuse an event that the accountants do not compose exactly as it was meant.

    Raises:
        EventError: naming the field, its value and its bound.
    """
    if event.kind not in KINDS:
        raise EventError(f"kind = {event.kind!r:.60}: must be one of {', '.join(KINDS)}")
    check_name("unit", event.unit)
    multiplier = _number("noise_multiplier", event.noise_multiplier)
    if not MIN_NOISE_MULTIPLIER <= multiplier <= MAX_NOISE_MULTIPLIER:
        raise EventError(
            f"noise_multiplier = {multiplier}: must lie in "
            f"[{MIN_NOISE_MULTIPLIER}, {MAX_NOISE_MULTIPLIER:g}]; raise the noise"
        )
    rate = _number("sampling_rate", event.sampling_rate)
    if not 0 < rate <= 1:
        raise EventError(f"sampling_rate = {rate}: must lie in (0, 1]")
    if event.kind == GAUSSIAN and rate != 1:
        raise EventError(f"sampling_rate = {rate}: must be 1 for the kind {GAUSSIAN!r}")
    if isinstance(event.steps, bool) or not isinstance(event.steps, int):
        raise EventError(f"steps = {event.steps!r:.60}: must be an integer")
    if not 1 <= event.steps <= MAX_STEPS:
        raise EventError(f"steps = {event.steps:.6g}: must lie in [1, {MAX_STEPS}]")


def events_of(schedule: Schedule) -> list[PrivacyEvent]:
    """Everything that a schedule asks for, votes first; not checked."""
    unit = schedule.unit
    votes = [
        PrivacyEvent(GAUSSIAN, multiplier, 1.0, number, unit) for _, multiplier, number in schedule.votes
    ]
    rate = schedule.sampling_rate
    steps = [PrivacyEvent(POISSON_GAUSSIAN, multiplier, rate, n, unit) for multiplier, n in schedule.parts]
    return [*votes, *steps]


def event_to_json(event: PrivacyEvent) -> str:
    """Write an event as one line of JSON.

    Raises:
        EventError: the event could not be read back.
    """
    check_event(event)
    numbers = {"noise_multiplier": float(event.noise_multiplier), "sampling_rate": float(event.sampling_rate)}
    return json.dumps(asdict(event) | numbers, sort_keys=True, allow_nan=False)


def event_from_json(text: str) -> PrivacyEvent:
    """Read what :func:`event_to_json` wrote.

    Raises:
        EventError: not an object with exactly our five keys, each once, of the right type and in range.
    """
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_not_finite)
    except (ValueError, RecursionError, TypeError) as error:
        raise EventError(f"event {text!r:.80}: not strict JSON ({error})") from error
    if not isinstance(value, dict):
        raise EventError(f"event {text!r:.80}: must be a JSON object")
    if value.keys() != _KEYS:
        missing, extra = sorted(_KEYS - value.keys()), sorted(value.keys() - _KEYS)
        raise EventError(f"event: keys must be {sorted(_KEYS)}; missing {missing}, extra {extra}")
    event = PrivacyEvent(**value)
    check_event(event)
    return PrivacyEvent(
        kind=event.kind,
        noise_multiplier=float(event.noise_multiplier),
        sampling_rate=float(event.sampling_rate),
        steps=event.steps,
        unit=event.unit,
    )


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EventError(f"{field} = {value!r:.60}: must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise EventError(f"{field} = {number}: must be finite")
    return number


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _not_finite(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a finite number")
