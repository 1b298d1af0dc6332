# SPDX-License-Identifier: Apache-2.0
"""What a run has spent, as rounds go."""

from __future__ import annotations

import pytest

from fedpeft import spending as module
from fedpeft.privacy.accountant import epsilon
from fedpeft.privacy.events import POISSON_GAUSSIAN
from fedpeft.spending import Spending
from fedpeft.types import PrivacyEvent

DELTA = 1e-5
ONE = PrivacyEvent(POISSON_GAUSSIAN, 1.1, 0.1, 1, "record")
OTHER = PrivacyEvent(POISSON_GAUSSIAN, 0.9, 0.1, 1, "record")


def test_as_if_composed_anew_each_round() -> None:
    spending = Spending(DELTA)
    events: dict[str, list[PrivacyEvent]] = {"a": [], "b": [], "c": []}
    rounds = [
        {"a": [ONE], "b": [ONE], "c": [ONE]},
        {"a": [ONE], "b": [], "c": [ONE]},  # b was left out, and has a history of its own from here
        {"a": [ONE], "b": [OTHER, OTHER], "c": [OTHER]},
        {"a": [], "b": [], "c": []},
        {"a": [OTHER], "b": [ONE, OTHER, OTHER], "c": [ONE]},
    ]
    for added in rounds:
        for site, new in added.items():
            events[site] += new
        expected = max(epsilon(so_far, DELTA) for so_far in events.values())
        assert spending.most(events) == pytest.approx(expected, rel=2e-3)


def test_nothing_is_spent_before_the_first_round() -> None:
    assert Spending(DELTA).most({"a": []}) == 0.0
    assert Spending(DELTA).most({}) == 0.0


def test_sites_that_are_alike_are_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(module.Composition):
        def __init__(self, events: object = ()) -> None:
            made.append(self)
            super().__init__(events)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "Composition", Counted)
    spending = Spending(DELTA)
    events: dict[str, list[PrivacyEvent]] = {f"site{i}": [] for i in range(20)}
    for _ in range(3):
        for so_far in events.values():
            so_far.append(ONE)
        spending.most(events)
    assert len(made) == 1


def test_a_rounds_record_names_the_sites_that_spent_less() -> None:
    record = Spending(DELTA).record({"a": [ONE, ONE], "b": [ONE], "c": [ONE, ONE]})
    assert record["epsilon_spent"] == pytest.approx(epsilon([ONE, ONE], DELTA), rel=2e-3)
    assert record["epsilon_spent_less"] == {"b": pytest.approx(epsilon([ONE], DELTA), rel=2e-3)}
    assert Spending(DELTA).record({"a": []}) == {"epsilon_spent": 0.0, "epsilon_spent_less": {}}
