# SPDX-License-Identifier: Apache-2.0
"""Arbitrary sequences of requests: no budget is exceeded, and neighbouring data show in the noise only."""

import dataclasses
import importlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpeft.errors import LedgerError
from fedpeft.privacy.ledger import admission, verify
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.privacy.renyi_filter import RenyiFilter
from fedpeft.site import site as site_module

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def duel():
    sys.path.insert(0, str(ROOT))
    try:
        yield importlib.import_module("simulations.duel")
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def bench(duel):
    return duel.Bench()


def play(duel, bench, draw, moves=12):
    with tempfile.TemporaryDirectory() as folder:
        game = duel.Duel(Path(folder), bench, draw)
        game.play(moves)
        assert all(not verify(site.ledger.path).problems for site in game.sites[:1] if draw.random() < 0.02)
        return game.moves


@settings(
    max_examples=200, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.randoms(use_true_random=True))
def test_no_sequence_breaks_a_promise(duel, bench, draw):
    play(duel, bench, draw)


def some(duel, bench, number=25, moves=16):
    import random

    for seed in range(number):
        play(duel, bench, random.Random(seed), moves)


class TestWhatItWouldSee:
    """Sites that break one promise each are found within a few sequences."""

    def test_a_filter_that_pays_three_times_its_budget(self, duel, bench, monkeypatch):
        def three_times(text):
            # Not without a limit: a request for a million steps would then be served.
            honest = RenyiFilter.from_json(text)
            return replace(honest, budget=3 * honest.budget)

        generous = SimpleNamespace(from_json=three_times, planned=RenyiFilter.planned)
        monkeypatch.setattr(admission, "RenyiFilter", generous)
        with pytest.raises(AssertionError, match="overdrawn"):
            some(duel, bench, 60)

    def test_a_run_that_always_pays(self, duel, bench, monkeypatch):
        monkeypatch.setattr(Promise, "steps_left", lambda self, charged, multiplier: 10**9)
        monkeypatch.setattr(
            Promise, "covers", lambda self, events: sum(e.steps for e in events) <= self.steps
        )
        with pytest.raises(AssertionError, match="overdrawn"):
            some(duel, bench, 20, moves=90)

    def test_a_count_beside_the_release(self, duel, bench, monkeypatch):
        honest = site_module.Site.facts
        monkeypatch.setattr(
            site_module.Site,
            "facts",
            lambda self: dataclasses.replace(honest(self), declared_units=len(self._units)),
        )
        with pytest.raises(AssertionError):
            some(duel, bench, 1)

    def test_a_release_computed_anew_when_asked_again(self, duel, bench, monkeypatch):
        honest = site_module.Site.train

        def train(self, request):
            answer = honest(self, request)
            return dataclasses.replace(answer, values=answer.values + 1e-3 * self._randomness_count())

        count = iter(range(10**9))
        monkeypatch.setattr(site_module.Site, "_randomness_count", lambda self: next(count), raising=False)
        monkeypatch.setattr(site_module.Site, "train", train)
        with pytest.raises(AssertionError, match="another release"):
            some(duel, bench)

    def test_a_vote_that_is_not_charged(self, duel, bench, monkeypatch):
        honest = site_module.Site._paid

        def free(self, request, read, release):
            return honest(self, request, read, release) if request.stage == "training" else release()

        monkeypatch.setattr(site_module.Site, "_paid", free)
        with pytest.raises(LedgerError, match="not in work here"):  # the ledger itself keeps it in
            some(duel, bench)

    def test_a_metric_whose_length_tells_the_count(self, duel, bench, monkeypatch):
        from fedpeft.site import evaluation, payload

        honest = payload.metric_to_bytes
        monkeypatch.setattr(
            evaluation, "metric_to_bytes", lambda metric: honest(metric) + b" " * (hash(metric.correct) % 97)
        )
        with pytest.raises(AssertionError):
            some(duel, bench, 60)
