# SPDX-License-Identifier: Apache-2.0
"""What has been spent so far, as the coordinator counts it from the releases it received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedpeft.privacy.accountant import Composition, epsilon
from fedpeft.types import JsonDict, PrivacyEvent


def spent_by_site(events: Mapping[str, Sequence[PrivacyEvent]], delta: float) -> dict[str, float]:
    """The coordinator's view: epsilon of the releases it received from each site."""
    return {site: epsilon(list(steps), delta) if steps else 0.0 for site, steps in events.items()}


class Spending:
    """The same, round after round; neither the rounds so far nor sites that are alike make it slower."""

    def __init__(self, delta: float) -> None:
        """Begin with nothing spent; ``delta`` is the run's."""
        self._delta = delta
        self._histories: dict[str, _History] = {}

    def most(self, events: Mapping[str, Sequence[PrivacyEvent]]) -> float:
        """The largest epsilon over the sites, given all their events so far; earlier ones never change."""
        return max(self.by_site(events).values(), default=0.0)

    def record(self, events: Mapping[str, Sequence[PrivacyEvent]]) -> JsonDict:
        """For a line of ``rounds.jsonl``: the largest, and the sites that have spent less."""
        spent = {site: round(value, 6) for site, value in self.by_site(events).items()}
        most = max(spent.values(), default=0.0)
        return {"epsilon_spent": most, "epsilon_spent_less": {s: e for s, e in spent.items() if e < most}}

    def by_site(self, events: Mapping[str, Sequence[PrivacyEvent]]) -> dict[str, float]:
        """Epsilon of each site, given all its events so far; earlier ones never change."""
        after: dict[tuple[int, tuple[PrivacyEvent, ...]], _History] = {}
        for site, so_far in events.items():
            before = self._histories.get(site)
            added = tuple(so_far[before.length if before else 0 :])
            key = (id(before), added)  # sites that were alike, and went on alike, still are
            if key not in after:
                after[key] = _History.going_on(before, so_far)
            self._histories[site] = after[key]
        found = {id(history): history.epsilon(self._delta) for history in after.values()}
        return {site: found[id(self._histories[site])] for site in events}


class _History:
    """Events that some sites had alike; what was composed of them moves on with the first that goes on."""

    def __init__(self, events: Sequence[PrivacyEvent], composition: Composition) -> None:
        self.length = len(events)
        self._events = tuple(events)  # the list grows
        self._composition: Composition | None = composition

    @classmethod
    def going_on(cls, before: _History | None, events: Sequence[PrivacyEvent]) -> _History:
        """The history that holds ``events``, which begin with those of ``before``."""
        if before is None or before._composition is None:
            return cls(events, Composition(events))
        if before.length == len(events):
            return before
        composition, before._composition = before._composition, None
        for event in events[before.length :]:
            composition.add(event)
        return cls(events, composition)

    def epsilon(self, delta: float) -> float:
        """Of all its events."""
        if self._composition is None:
            self._composition = Composition(self._events)
        return self._composition.epsilon(delta)
