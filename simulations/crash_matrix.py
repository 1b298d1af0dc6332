# SPDX-License-Identifier: Apache-2.0
"""Kill a site at every write point of its ledger, again and again, and see what the ledger then says.

    python -m simulations.crash_matrix [--kills 300] [--out simulations/results/crash_matrix.json]

One ledger lives through all kills. A process serves requests on it - rounds, and between them votes and
private evaluations - and is killed (SIGKILL): before each statement that SQLite executes for a request in
turn, and at random instants, which also fall inside SQLite's own writes. Whoever comes next goes on with
the same request, as a resumed coordinator would. Besides, fresh ledgers are killed while they begin and
while a run is committed. After every kill the ledger must verify, hold every release that left, byte for
byte, and exceed the releases by at most one charge a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.ledger import Ledger, verify
from fedpeft.privacy.metric import EvaluateRequest, Payable
from fedpeft.privacy.policy import Policy
from fedpeft.types import Schedule, TrainRequest

_MULTIPLIER, _RATE = 60.0, 0.05
_MULTIPLIER_OF_ALL = 2000.0  # of a vote or a count, which takes in every unit
_SIZES = (100, 3_000_000)  # of a release: one that fits in SQLite's cache, one that spills into the file
_LONGEST_S = 0.2  # of the random instants: several requests
_POLICY = Policy(
    identity="crash", unit="record", declared_units=1000, epsilon=8.0, delta=1e-5, expires=date.max,
    stages=("synthesis", "training", "evaluation"),
)  # fmt: skip


@dataclass
class Matrix:
    """What happened.

    Attributes:
        points: statements of a request, each of which was a point to kill before.
        charges: on the ledger at the end; ``releases`` those that left.
    """

    kills: int = 0
    points: int = 0
    points_of_beginning: int = 0
    at_statements: int = 0
    at_instants: int = 0
    while_beginning: int = 0
    charges: int = 0
    releases: int = 0
    excess: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Killing(sqlite3.Connection):
    """Kills its process before a given statement."""

    executed = 0
    kill_before = -1

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if _Killing.executed == _Killing.kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        _Killing.executed += 1
        return super().execute(*arguments)


def main() -> int:
    """Parse, run, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        matrix = run(Path(folder), arguments.kills)
    text = json.dumps(matrix.__dict__, indent=2)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 1 if matrix.problems else 0


def run(folder: Path, kills: int, seed: int = 0) -> Matrix:
    """Kill so many times.

    Args:
        folder: for the ledgers; empty.
        kills: in all; a tenth of them while a ledger begins or a run is committed.
        seed: of the random instants.
    """
    started, draw, matrix = time.monotonic(), random.Random(seed), Matrix()
    matrix.points_of_beginning, matrix.points = _count_statements(folder)
    path = folder / "life.sqlite"
    Ledger.open(path, _POLICY).commit(_schedule(kills))
    beginning = kills // 10
    for number in range(beginning):
        _kill_while_beginning(folder, number, number * matrix.points_of_beginning // beginning, matrix)
    for number in range(kills - beginning):
        if number % 2:
            point = number // 2 % matrix.points
            whole = draw.randrange(3)
            delivered = _fork(lambda ready, point=point, whole=whole: _serve(path, ready, point, whole))
        else:
            delivered = _fork(lambda ready: _serve(path, ready, -1, 0), draw.uniform(0.0, _LONGEST_S))
        matrix.kills += 1
        matrix.at_statements += number % 2
        matrix.at_instants += 1 - number % 2
        if delivered != -signal.SIGKILL:
            matrix.problems.append(f"kill {number}: the process ended by itself, with {delivered}")
        _inspect(path, matrix)
    matrix.seconds = time.monotonic() - started
    return matrix


def _schedule(kills: int) -> Schedule:
    votes = tuple((stage, _MULTIPLIER_OF_ALL, 10 * kills) for stage in ("synthesis", "evaluation"))
    return Schedule("run", ((_MULTIPLIER, 50 * kills),), _RATE, "record", votes=votes)


def _request(number: int) -> Payable:
    """The next that is asked: every fifth is a vote, and the one after it a private evaluation."""
    name, zeros = f"r{number}", np.zeros(3, np.float32)
    if number % 5 == 3:
        return VoteRequest("run", name, _MULTIPLIER_OF_ALL, "any", 1, zeros[None], "")
    if number % 5 == 4:
        return EvaluateRequest("run", name, _MULTIPLIER_OF_ALL, "abc", zeros, "")
    return TrainRequest(
        "run", name, 1, 1, 1.0, _MULTIPLIER, _RATE, (1.0,), "automatic", "abc", zeros, ""
    )  # fmt: skip


def _serve(path: Path, ready: int, kill_before: int, whole: int) -> None:
    """Requests without end, from the first that has not left; each release is written beside the ledger.

    After so many whole ones, the next is killed before the given statement.
    """
    ledger = Ledger.open(path, _POLICY)
    _watch(-1)
    os.write(ready, b"1")
    while True:
        _Killing.executed, _Killing.kill_before = 0, -1 if whole else kill_before
        whole = max(0, whole - 1)
        number = _num_left(path)
        request = _request(number)
        payload = ledger.charge(request)
        if payload is None:
            payload = os.urandom(_SIZES[number % 7 == 0])
            ledger.store(request.request_id, payload)
        _leave(path, number, payload)


def _watch(kill_before: int) -> None:
    plain = sqlite3.connect
    sqlite3.connect = lambda *a, **k: plain(*a, **k | {"factory": _Killing})  # type: ignore[assignment, misc]
    _Killing.executed, _Killing.kill_before = 0, kill_before


def _leave(path: Path, number: int, payload: bytes) -> None:
    """The release leaves: it is out of the site's hands whole, or not at all."""
    draft = path.with_name(f"{path.name}.leaving")
    draft.write_bytes(payload)
    draft.rename(path.with_name(f"{path.name}.left-{number}"))


def _num_left(path: Path) -> int:
    number = 0
    while path.with_name(f"{path.name}.left-{number}").exists():
        number += 1
    return number


def _fork(work: Callable[[int], None], after_s: float | None = None) -> int:
    """How a child ended that did the work; if a time is given, killed so long after it said to be ready."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            work(writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    if after_s is not None:
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _count_statements(folder: Path) -> tuple[int, int]:
    """Of beginning a ledger with a run, and of one request, large enough to spill."""
    path = folder / "count.sqlite"

    def begin(_ready: int) -> None:
        _watch(-1)
        Ledger.open(path, _POLICY).commit(_schedule(1))
        os._exit(_Killing.executed)

    def serve(_ready: int) -> None:
        ledger = Ledger.open(path, _POLICY)
        _watch(-1)
        if ledger.charge(_request(0)) is None:
            ledger.store("r0", bytes(_SIZES[1]))
        os._exit(_Killing.executed)

    return _fork(begin), _fork(serve)


def _kill_while_beginning(folder: Path, number: int, statement: int, matrix: Matrix) -> None:
    """Killed at a statement of making a ledger and committing a run; then somebody else does both."""
    path = folder / f"begin-{number}.sqlite"

    def work(_ready: int) -> None:
        _watch(statement)
        Ledger.open(path, _POLICY).commit(_schedule(1))

    ended = _fork(work)
    matrix.kills += ended == -signal.SIGKILL
    matrix.while_beginning += ended == -signal.SIGKILL
    ledger = Ledger.open(path, _POLICY)
    ledger.commit(_schedule(1))
    if not verify(path).ok or ledger.spent():
        matrix.problems.append(f"begin {number}: {verify(path).problems}")
    for file in folder.glob(f"*begin-{number}.sqlite*"):
        file.unlink()


def _inspect(path: Path, matrix: Matrix) -> None:
    """What must hold after every kill; looked at in a copy, as the next process would find it."""
    copy = path.with_name("copy.sqlite")
    for suffix in ("", "-journal"):
        target, source = Path(f"{copy}{suffix}"), Path(f"{path}{suffix}")
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copy(source, target)
    report = verify(copy)
    matrix.problems += [f"after kill {matrix.kills}: {problem}" for problem in report.problems]
    with sqlite3.connect(copy) as connection:
        released = dict(connection.execute("SELECT request_id, payload FROM releases"))
        paid = {name for (name,) in connection.execute("SELECT DISTINCT request_id FROM events")}
    left = _num_left(path)
    for number in range(left):
        name = f"r{number}"
        if (
            name not in paid
            or released.get(name) != path.with_name(f"{path.name}.left-{number}").read_bytes()
        ):
            matrix.problems.append(
                f"after kill {matrix.kills}: release {name} is not in the ledger as it left"
            )
    matrix.charges, matrix.releases, matrix.excess = report.num_events, left, report.num_events - left
    if matrix.excess > matrix.at_statements + matrix.at_instants:
        matrix.problems.append(f"after kill {matrix.kills}: {matrix.excess} charges more than releases")


if __name__ == "__main__":
    sys.exit(main())
