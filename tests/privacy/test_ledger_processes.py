# SPDX-License-Identifier: Apache-2.0
"""Several processes share one budget, and a process killed at any write point hides nothing."""

import json
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from fedpeft.privacy.ledger import verify

NUM_RACES = 20

COMMON = """
import sys
from datetime import date
import numpy as np
from fedpeft.errors import Refusal
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.types import TrainRequest

def open_ledger(path):
    policy = Policy(identity="st-mary", unit="record", declared_units=1000, epsilon=8.0, delta=1e-5,
                    expires=date.max)
    return Ledger.open(path, policy, wait_s=30.0)

def request(name):
    return TrainRequest("run", name, 1, 1, 1.0, 4.0, 0.5, (1.0,), "automatic", "abc",
                        np.zeros(3, dtype=np.float32), "")
"""

RACER = (
    COMMON
    + """
me = sys.argv[1]
print("ready", flush=True)
for line in sys.stdin:
    path, name = line.rstrip("\\n").split("\\t")
    ledger = open_ledger(path)
    try:
        stored = ledger.charge(request(name))
    except Refusal as refusal:
        print(refusal.code.value, flush=True)
        continue
    if stored is None:
        ledger.store(name, f"{me} computed it".encode())
        print("paid", flush=True)
    else:
        print(stored.decode(), flush=True)
"""
)

# Runs one request in a fork for every statement that SQLite executes on the way, and kills it before
# that statement; the last fork is killed after the last statement.
KILLER = (
    COMMON
    + """
import json, os, shutil, signal, sqlite3, threading

folder, size = sys.argv[1], int(sys.argv[2])
plain_connect = sqlite3.connect
state = {"executed": 0, "kill_before": -1, "total": -1}

class Killing(sqlite3.Connection):
    def execute(self, *arguments):
        if state["executed"] == state["kill_before"]:
            os.kill(os.getpid(), signal.SIGKILL)
        state["executed"] += 1
        result = super().execute(*arguments)
        if state["executed"] == state["kill_before"] == state["total"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

def serve(path, kill_before):
    ledger = open_ledger(path)
    sqlite3.connect = lambda *a, **k: plain_connect(*a, factory=Killing, **k)
    state.update(executed=0, kill_before=kill_before)
    if ledger.charge(request("run/1")) is None:
        open(path + ".computed", "w").close()
        payload = os.urandom(size)
        ledger.store("run/1", payload)
        with open(path + ".left", "wb") as file:
            file.write(payload)
    return state["executed"]

shutil.copy(f"{folder}/template.sqlite", f"{folder}/whole.sqlite")
total = state["total"] = serve(f"{folder}/whole.sqlite", -1)
sqlite3.connect = plain_connect
outcomes = []
for number in range(total + 1):
    path = f"{folder}/killed-{number}.sqlite"
    shutil.copy(f"{folder}/template.sqlite", path)
    child = os.fork()
    if child == 0:
        try:
            serve(path, number)
        finally:
            os._exit(3)
    outcomes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps(outcomes))
"""
)


@pytest.fixture
def racers():
    """Two processes that are ready to charge: a function sends each its line and gives their answers."""
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in ("first", "second")
        ]
        for racer in both:
            assert racer.stdout.readline() == "ready\n"

        def race(*lines):
            for racer, line in zip(both, lines, strict=True):
                racer.stdin.write(f"{line}\n")
            for racer in both:
                racer.stdin.flush()
            return sorted(racer.stdout.readline().rstrip("\n") for racer in both)

        yield race
        for racer in both:
            racer.stdin.close()


def new_ledger(tools, path, steps):
    ledger = tools.open(path)
    ledger.commit(tools.schedule(steps=steps))
    return ledger


def test_two_processes_cannot_both_spend_the_last_step(racers, tools, tmp_path):
    for number in range(NUM_RACES):
        path = tmp_path / f"{number}.sqlite"
        ledger = new_ledger(tools, path, steps=1)
        assert racers(f"{path}\trun/a", f"{path}\trun/b") == ["budget", "paid"]
        assert len(ledger.spent()) == 1


def test_two_processes_with_the_same_request_release_it_once(racers, tools, tmp_path):
    for number in range(NUM_RACES):
        path = tmp_path / f"{number}.sqlite"
        ledger = new_ledger(tools, path, steps=2)
        answers = racers(f"{path}\trun/a", f"{path}\trun/a")
        assert answers in (["first computed it", "paid"], ["paid", "second computed it"])
        assert len(ledger.spent()) == 1


@pytest.mark.parametrize("size", [100, 5_000_000], ids=["small", "spills"])
def test_killed_at_every_statement(tools, tmp_path, size):
    template = tmp_path / "template.sqlite"
    new_ledger(tools, template, steps=5)
    killer = [sys.executable, "-c", KILLER, str(tmp_path), str(size)]
    outcomes = json.loads(subprocess.run(killer, check=True, stdout=subprocess.PIPE, timeout=300).stdout)
    assert len(outcomes) > 10
    assert set(outcomes) == {-signal.SIGKILL}
    undone = charges_lost = 0
    for number in range(len(outcomes)):
        path = tmp_path / f"killed-{number}.sqlite"
        size_when_killed = path.stat().st_size
        left, computed = path.with_name(f"{path.name}.left"), path.with_name(f"{path.name}.computed")
        assert verify(path).ok
        ledger = tools.open(path)
        charged = len(ledger.spent())
        assert charged <= 1
        assert charged == 1 or not computed.exists()  # never a private number that was not paid
        stored = ledger.charge(tools.request(scales=(1.0,)))
        if left.exists():
            assert stored == left.read_bytes()
        if stored is None:
            ledger.store("run/1", b"again")
            charges_lost += charged
            undone += size_when_killed > 1_000_000
        else:
            assert len(stored) == size
        assert len(ledger.spent()) <= 2  # one, and one for the crash
        assert verify(path).ok
        ledger.close()
    assert charges_lost > 0
    # A large payload reaches the file before it is committed, and had to be taken out again.
    assert (undone > 0) == (size > 1_000_000)
