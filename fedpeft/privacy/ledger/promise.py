# SPDX-License-Identifier: Apache-2.0
"""What a run promised: how many steps at which noise, and which of them are still to be paid for.

A commitment pays for a set of steps, each a Poisson-sampled Gaussian with its own multiplier, all at one
rate, and possibly for votes, which are Gaussian releases of every unit; each kind only for its own. They may
be taken in any order, chosen by whoever sees the releases, and a step may carry *more* noise than the
committed one that pays for it: draw one sample from the dominating pair of each committed step beforehand;
whatever is asked is then computed from a sample that was not used yet, by a kernel that looks at nothing
private. Charges are covered if each can be given a committed step of its own and its kind, with at most its
noise, and of nested choices that is possible exactly if, for every kind and multiplier, there are no more
charges than committed steps at or below it (Hall 1935). The proof is written out in ``docs/privacy.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedpeft.errors import EventError
from fedpeft.privacy.events import KINDS, event_from_json, event_to_json, events_of
from fedpeft.types import PrivacyEvent, Schedule

MAX_PARTS = 1000
"""Of a schedule."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The steps of a commitment, one event a part."""

    events: tuple[PrivacyEvent, ...]

    @classmethod
    def of(cls, schedule: Schedule) -> Promise:
        """The promise that a schedule asks for.

        Raises:
            EventError: no part, too many, or one that no accountant composes.
        """
        return cls(_checked(events_of(schedule)))

    @classmethod
    def from_json(cls, text: str) -> Promise:
        """Read what :meth:`to_json` wrote.

        Raises:
            EventError: it is something else.
        """
        try:
            parts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EventError(f"schedule {text!r:.80}: not JSON ({error})") from error
        if not isinstance(parts, list):
            raise EventError(f"schedule {text!r:.80}: must be a list of events")
        return cls(_checked([event_from_json(json.dumps(part)) for part in parts]))

    def to_json(self) -> str:
        """One line: a list of events."""
        return f"[{', '.join(map(event_to_json, self.events))}]"

    @property
    def steps(self) -> int:
        """Of all parts."""
        return sum(event.steps for event in self.events)

    @property
    def unit(self) -> str:
        """What the steps protect."""
        return self.events[0].unit

    def pool(self, kind: str) -> Promise:
        """What it holds of one kind, possibly nothing."""
        return Promise(tuple(event for event in self.events if event.kind == kind))

    def names(self, event: PrivacyEvent) -> bool:
        """Whether the event's steps are of a kind that was committed, whatever is left of them."""
        return any(_kind(event) == _kind(promised) for promised in self.events)

    def steps_left(self, charged: Iterable[PrivacyEvent], noise_multiplier: float) -> int:
        """How many more steps of a committed multiplier the promise pays for; negative: overdrawn.

        The promise and the charges are of one kind; see :meth:`pool`.
        """
        charged = tuple(charged)
        levels = {event.noise_multiplier for event in (*self.events, *charged)}
        return min(
            _steps_up_to(self.events, level) - _steps_up_to(charged, level)
            for level in {noise_multiplier, *levels}
            if level >= noise_multiplier
        )

    def covers(self, charged: Iterable[PrivacyEvent]) -> bool:
        """Whether the promise pays for all of these events."""
        charged = tuple(charged)
        return all(map(self.names, charged)) and not self.is_overdrawn(charged)

    def is_overdrawn(self, charged: Iterable[PrivacyEvent]) -> bool:
        """Whether more was charged of a kind than the promise holds of it."""
        charged = tuple(charged)
        return any(
            self.pool(kind).steps_left([event for event in charged if event.kind == kind], 0.0) < 0
            for kind in KINDS
        )


def _checked(events: Sequence[PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    if not 1 <= len(events) <= MAX_PARTS:
        raise EventError(f"schedule: has {len(events)} parts; must have 1 to {MAX_PARTS}")
    for event in events:
        event_to_json(event)
    rates = {(event.kind, event.sampling_rate) for event in events}
    if len({event.unit for event in events}) > 1 or len(rates) > len({kind for kind, _ in rates}):
        raise EventError("schedule: its parts must agree in unit, and those of a kind in sampling_rate")
    return tuple(events)


def _kind(event: PrivacyEvent) -> tuple[str, float, float, str]:
    return event.kind, event.noise_multiplier, event.sampling_rate, event.unit


def _steps_up_to(events: Iterable[PrivacyEvent], noise_multiplier: float) -> int:
    return sum(event.steps for event in events if event.noise_multiplier <= noise_multiplier)
