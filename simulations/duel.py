# SPDX-License-Identifier: Apache-2.0
"""A coordinator that tries everything, against two sites whose data differ in one unit.

A sequence is drawn at random: schedules that fit and that do not; rounds, votes and private evaluations
inside and outside runs, with any noise, rate, scales, bins or adapter, ids used again with the same and
with other content, echoed heads that are new, old or invented; between them crashes, restarts, restored
backups, and days that pass. Both sites get the same sequence under the same clock. After every move no
budget may be exceeded, a refusal must have changed nothing, a release must come again as it was, and
whatever leaves - codes, events, heads, facts, lengths, the ledger's own rows - must be the same at both
sites, the noised numbers alone excepted.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import random
import shutil
import sqlite3
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fedpeft.adapters.adapter import Adapter
from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.ledger import Ledger, charge
from fedpeft.privacy.ledger.promise import Promise
from fedpeft.privacy.metric import PrivateMetric
from fedpeft.privacy.policy import FilterTerms, Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.renyi_filter import RenyiFilter
from fedpeft.settings import AdapterSettings
from fedpeft.site.evaluation import HeldOut
from fedpeft.site.payload import from_bytes, histogram_from_bytes, metric_from_bytes
from fedpeft.site.site import Site
from fedpeft.testing import dummy_examples, tiny_backbone
from fedpeft.training.execution import PLAIN
from fedpeft.types import FILTER_RUN, RefusalCode, TrainRequest
from simulations.duel_requests import RATE, Requests

T = TypeVar("T")

# A pure function that takes a second; sequences ask it the same few questions.
charge.smallest_share = functools.cache(charge.smallest_share)

_FIRST_DAY = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
_POLICY = Policy(
    identity="here", unit="record", declared_units=10, epsilon=8.0, delta=1e-5,
    expires=datetime.date(2030, 1, 20), crash_reserve=1, stages=("synthesis", "training", "evaluation"),
    filter=FilterTerms(epsilon=2.0, delta=1e-6, noise_multiplier=3.0, sampling_rate=RATE),
)  # fmt: skip
_TOPICS = ("the weather was fine", "boil three eggs", "sort these numbers", "fine eggs")


class Bench:
    """One tiny backbone for all sites of a process."""

    def __init__(self) -> None:
        """Load it."""
        self.model = tiny_backbone().model
        self.adapter = Adapter(self.model, AdapterSettings(rank=1, layers=[1], modules=["q_proj", "v_proj"]))
        self.execution = PLAIN
        self.lock = threading.Lock()


class Crash(Exception):  # noqa: N818 - what stands for a kill, in a process that has to go on
    """Thrown between a charge and its release."""


class Duel:
    """Two sites, one sequence.

    Attributes:
        moves: how often each kind of answer came.
    """

    def __init__(self, folder: Path, bench: Bench, draw: random.Random) -> None:
        """Open both sites in an empty folder."""
        self.folder, self.bench, self.draw = folder, bench, draw
        self.now = _FIRST_DAY
        self.crashing = False
        self.computed = [0, 0]
        self.left: list[dict[str, bytes]] = [{}, {}]
        self.requests = Requests(draw, bench.adapter)
        self.rounds: list[TrainRequest] = []
        self.moves: Counter[str] = Counter()
        units = {f"u{i}": (e,) for i, e in enumerate(dummy_examples(range(6, 10), 300))}
        self.units = (units, _without_first(units))
        texts = {f"u{i}": (text,) for i, text in enumerate(_TOPICS)}
        self.texts = (texts, _without_first(texts))
        judged = {"h0": [True], "h1": [False], "h2": [True, False]}
        self.judged = (judged, _without_first(judged))
        self.sites = [self._open(0), self._open(1)]

    def play(self, num_moves: int) -> None:
        """Draw and make moves; raises ``AssertionError`` where a promise is broken."""
        if self.draw.random() < 0.8:
            self._commit()
        for _ in range(num_moves):
            kind = self.draw.choices(
                (
                    self._commit,
                    self._train,
                    self._vote,
                    self._evaluate,
                    self._restart,
                    self._restore,
                    self._wait,
                ),
                (3, 9, 3, 3, 1, 1, 1),
            )[0]
            kind()
            self._check()
        for site in self.sites:
            site.ledger.close()

    def _open(self, which: int) -> Site:
        path = self.folder / f"{which}.sqlite"
        return Site(
            self.units[which],
            _POLICY,
            Ledger.open(path, _POLICY, clock=lambda: self.now, wait_s=5.0),
            self.bench,
            max_tokens=64,
            new_randomness=lambda _id: self._randomness(which),
            pairs=self.units[which],
            held_out=HeldOut(lambda: self.judged[which], 4.0),
            texts=self.texts[which],
        )

    def _randomness(self, which: int) -> Randomness:
        self.computed[which] += 1
        if self.crashing:
            raise Crash
        return Randomness.fresh()

    def _commit(self) -> None:
        schedule = self.requests.schedule()
        self._ask("commit", lambda site: site.commit(schedule))

    def _train(self) -> None:
        request = self.requests.train()
        if self.rounds and self.draw.random() < 0.25:
            request = self.draw.choice(self.rounds)  # word for word, as after an answer that was lost
        self.rounds.append(request)
        self._ask_private("train", lambda site: site.train(request))

    def _vote(self) -> None:
        request = self.requests.vote()
        self._ask_private("vote", lambda site: site.vote(request))

    def _evaluate(self) -> None:
        request = self.requests.evaluate()
        self._ask_private("evaluate", lambda site: site.evaluate(request))

    def _ask_private(self, what: str, ask: Any) -> None:
        self.crashing = self.draw.random() < 0.15
        self._ask(what, ask)
        self.crashing = False

    def _restart(self) -> None:
        for which, site in enumerate(self.sites):
            site.ledger.close()
            self.sites[which] = self._open(which)
        self.moves["restart"] += 1

    def _restore(self) -> None:
        """Keep a backup, or bring one back: an echo of anything newer must then be refused."""
        backups = [self.folder / f"{which}.backup" for which in (0, 1)]
        paths = [site.ledger.path for site in self.sites]
        if not backups[0].exists():
            for path, backup in zip(paths, backups, strict=True):
                shutil.copy(path, backup)
            return
        newest = self.sites[0].ledger.head
        for path, backup in zip(paths, backups, strict=True):
            shutil.move(backup, path)
        self._restart()
        lost = self.sites[0].ledger.head != newest
        if lost:
            asked = self.requests.plain("lost", ledger_head=newest)
            for site in self.sites:
                assert _code(lambda site=site: site.train(asked)) is RefusalCode.ROLLBACK
            self.moves["rollback noticed"] += 1
            # What was spent is lost where nobody echoes; the sequence goes on with what the ledger knows.
            self.requests.heads = [self.sites[0].ledger.head]
            self.left = [_stored(site.ledger.path) for site in self.sites]
            self.computed = [len(site.ledger.spent()) for site in self.sites]

    def _wait(self) -> None:
        self.now += datetime.timedelta(hours=self.draw.randrange(48))

    def _ask(self, what: str, ask: Any) -> None:
        before = [_rows(site.ledger.path) for site in self.sites]
        answers = [_answer(ask, site) for site in self.sites]
        shown = [_without_noise(answer) for answer in answers]
        assert shown[0] == shown[1], f"the sites differ: {shown}"
        self.moves[f"{what} {shown[0] if isinstance(shown[0], str) else 'released'}"] += 1
        for which, (site, answer) in enumerate(zip(self.sites, answers, strict=True)):
            if isinstance(answer, RefusalCode):
                assert _rows(site.ledger.path) == before[which], f"a refusal ({answer}) changed the ledger"
            elif dataclasses.is_dataclass(answer):
                values = _numbers(answer).tobytes()
                assert self.left[which].setdefault(answer.request_id, values) == values, "another release"
        self.requests.heads.append(self.sites[0].ledger.head)

    def _check(self) -> None:
        """Budgets, write-ahead, and equality of all that is not noise."""
        for which, site in enumerate(self.sites):
            with sqlite3.connect(site.ledger.path) as connection:
                committed = connection.execute(
                    "SELECT run_id, schedule, epsilon, delta FROM commitments"
                ).fetchall()
                paid = {name for (name,) in connection.execute("SELECT request_id FROM events")}
            connection.close()
            assert math.fsum(row[2] for row in committed) <= _POLICY.epsilon * (1 + 1e-12)
            assert math.fsum(row[3] for row in committed) <= _POLICY.delta * (1 + 1e-12)
            for run, schedule, _, _ in committed:
                promise = RenyiFilter if run == FILTER_RUN else Promise
                assert promise.from_json(schedule).covers(site.ledger.spent(run)), f"{run} is overdrawn"
            assert set(self.left[which]) <= paid, "a release was not charged"
            assert self.computed[which] <= len(site.ledger.spent()), "computed before it was charged"
        assert self.sites[0].facts() == self.sites[1].facts()
        assert _rows(self.sites[0].ledger.path) == _rows(self.sites[1].ledger.path)


def _without_first(units: dict[str, T]) -> dict[str, T]:
    """The neighbouring data: one unit fewer, of which nothing but noised numbers may know."""
    return dict(list(units.items())[1:])


def _answer(ask: Any, site: Site) -> Any:
    try:
        return ask(site)
    except Refusal as refusal:
        return refusal.code
    except Crash:
        return "crash"


def _code(ask: Any) -> RefusalCode | None:
    try:
        ask()
    except Refusal as refusal:
        return refusal.code
    return None


def _without_noise(answer: Any) -> Any:
    """What leaves, its noised numbers replaced by their type and length."""
    if not dataclasses.is_dataclass(answer):
        return str(answer)
    noised = _numbers(answer)
    rest = tuple(getattr(answer, name, None) for name in ("request_id", "event", "ledger_head", "declared"))
    return (*rest, noised.dtype.str, noised.shape)


def _numbers(answer: Any) -> np.ndarray:
    """Of a release, what is noised."""
    return np.asarray(answer.correct if isinstance(answer, PrivateMetric) else answer.values)


def _rows(path: Path) -> list[Any]:
    """Everything in the ledger but the noised numbers and their digests."""
    with sqlite3.connect(path) as connection:
        rows: list[Any] = [
            connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("meta", "commitments", "events", "head")
        ]
        query = "SELECT seq, time, request_id, run_id, length(payload), length(digest) FROM releases"
        rows.append(connection.execute(query).fetchall())
    connection.close()
    return rows


def _stored(path: Path) -> dict[str, bytes]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT request_id, payload FROM releases").fetchall()
    connection.close()
    return {name: _numbers(_read(bytes(payload))).tobytes() for name, payload in rows}


def _read(payload: bytes) -> Any:
    for read in (from_bytes, histogram_from_bytes):
        with suppress(LedgerError):
            return read(payload)
    return metric_from_bytes(payload)
