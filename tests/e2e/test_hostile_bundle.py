# SPDX-License-Identifier: Apache-2.0
"""Code that the coordinator uploads runs as the courier's user: what it tries against a resident site fails.

Two users are needed, so the test is root's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import tomli_w

from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import load_policy
from fedpeft.testing import tiny_config
from fedpeft.types import Schedule
from simulations.deployed.processes import PATIENCE_S, Processes
from tests.e2e.openers import Openers
from tests.e2e.users import COURIER_UID, SITE_UID, commands_for_all

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run as two other users")

BUNDLE = """
import ctypes, json, os, shutil, signal, socket, sqlite3, sys
site, pid, sock, mine, backbone = sys.argv[1:]
pid, libc = int(pid), ctypes.CDLL(None, use_errno=True)
records, policy, ledger = f"{site}/records.jsonl", f"{site}/policy.toml", f"{site}/ledger/here.sqlite"

def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def read_memory():
    space = ctypes.create_string_buffer(8)
    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    where = int(open("/proc/self/maps").readline().split("-")[0], 16)
    here, there = Part(ctypes.addressof(space), 8), Part(where, 8)
    called(libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))

def connect():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(sock)

def listen_instead():
    os.unlink(sock)
    socket.socket(socket.AF_UNIX).bind(sock)

def spend_in_the_ledger():
    with sqlite3.connect(ledger) as one:
        one.execute("DELETE FROM events")

READ = {
    "read the records": lambda: open(records).read(),
    "read the policy": lambda: open(policy).read(),
    "read SITE.toml": lambda: open(f"{site}/SITE.toml").read(),
    "read the ledger": lambda: open(ledger, "rb").read(),
    "list the site": lambda: os.listdir(site),
    "list the ledger": lambda: os.listdir(f"{site}/ledger"),
    "list what it has open": lambda: os.listdir(f"/proc/{pid}/fd"),
    "open what it has open": lambda: [open(f"/proc/{pid}/fd/{n}", "rb") for n in range(64)],
    "read its environment": lambda: open(f"/proc/{pid}/environ").read(),
    "enter its folder": lambda: os.chdir(f"/proc/{pid}/cwd"),
}
TRY = READ | {
    "read its memory by file": lambda: open(f"/proc/{pid}/mem", "rb").close(),
    "read its memory by call": read_memory,
    "trace it": lambda: called(libc.ptrace(16, pid, 0, 0)),
    "stop it": lambda: os.kill(pid, signal.SIGSTOP),
    "end it": lambda: os.kill(pid, signal.SIGKILL),
    "link the records": lambda: os.link(records, f"{mine}/records"),
    "edit the policy": lambda: open(policy, "a").write("epsilon = 100.0"),
    "open up the policy": lambda: os.chmod(policy, 0o666),
    "own the policy": lambda: os.chown(policy, os.getuid(), os.getgid()),
    "put another policy in its place": lambda: os.rename(f"{mine}/policy.toml", policy),
    "edit SITE.toml": lambda: open(f"{site}/SITE.toml", "a").write("x"),
    "edit the records": lambda: open(records, "a").write("x"),
    "delete the ledger": lambda: os.unlink(ledger),
    "empty the ledger": lambda: os.truncate(ledger, 0),
    "forge the ledger": spend_in_the_ledger,
    "put another ledger in its place": lambda: os.rename(f"{mine}/policy.toml", ledger),
    "move the site away": lambda: os.rename(site, f"{mine}/site"),
    "delete the site": lambda: shutil.rmtree(site),
    "change the backbone": lambda: open(f"{backbone}/config.json", "a").write("x"),
    "put a file beside the socket": lambda: open(os.path.dirname(sock) + "/x", "w").write("x"),
    "listen in the site's place": listen_instead,
    "become the site's user": lambda: os.setuid(int(sys.stdin.read())),
}

def outcome(attempt):
    try:
        attempt()
        return "done"
    except (OSError, sqlite3.Error) as error:
        return type(error).__name__

attempts = READ if mine == "control" else TRY | {"connect": connect}
print(json.dumps({name: outcome(attempt) for name, attempt in attempts.items()}))
"""


def _write_site(place: Path) -> tuple[Path, Path]:
    """An organization of two users, its ledger begun; returns its folder and its socket."""
    tiny_config(place, num_sites=1)
    for file in (place / "backbone").iterdir():
        file.chmod(0o644)
    site, sockets = place / "site", place / "run"
    (site / "ledger").mkdir(parents=True)
    sockets.mkdir(mode=0o750)
    shutil.move(place / "site0.jsonl", site / "records.jsonl")
    terms = {"identity": "here", "unit": "record", "declared_units": 40, "epsilon": 8.0, "delta": 1e-5}
    (site / "policy.toml").write_text(tomli_w.dumps(terms) + "expires = 2999-12-31\n")
    tables = {
        "site": {"socket": str(sockets / "site.sock"), "courier": str(COURIER_UID), "path": "records.jsonl"},
        "model": {"backbone": str(place / "backbone")},
        "adapter": {"rank": 2},
        "data": {"source": "jsonl", "task": "task", "id": "id", "max_length": 64, "root": str(site)},
        "run": {"threads": 1},
    }
    (site / "SITE.toml").write_text(tomli_w.dumps(tables))
    ledger = Ledger.open(site / "ledger/here.sqlite", load_policy(site / "policy.toml"))
    ledger.commit(Schedule.constant("run", 3.0, 0.1, 2, "record"))
    ledger.close()
    os.chown(sockets, SITE_UID, COURIER_UID)
    for path in [site, *site.rglob("*")]:
        os.chown(path, SITE_UID, SITE_UID)
        path.chmod(0o700 if path.is_dir() else 0o600)
    return site, sockets / "site.sock"


def _run_bundle(python: Path, uid: int, *arguments: object) -> dict[str, str]:
    done = subprocess.run(
        [str(part) for part in (python, "-I", "-c", BUNDLE, *arguments)], input=str(SITE_UID), text=True,
        capture_output=True, cwd="/", user=uid, group=uid, extra_groups=[], timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


def _contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mode, path.stat().st_uid) for path in files}


def test_a_hostile_bundle_gets_at_nothing(place: Path, processes: Processes) -> None:
    commands = commands_for_all(place)
    if commands is None:
        pytest.skip("no Python here that other users may run")
    site, socket = _write_site(place)
    mine = place / "mine"
    mine.mkdir()
    (mine / "policy.toml").write_text("epsilon = 100.0")
    for path in (mine, mine / "policy.toml"):
        os.chown(path, COURIER_UID, COURIER_UID)
    openers = Openers(site / "records.jsonl")
    command = (commands / "fedpeft", "site", "serve", site / "SITE.toml")
    pid = processes.start("site", *command, home=site, uid=SITE_UID, group=COURIER_UID)
    processes.wait_for("site", socket.exists, "its socket")
    assert openers.found() == ({pid} if openers.is_watching else set())
    before = _contents(site)

    arguments = (site, pid, socket)
    tried = _run_bundle(commands / "python", COURIER_UID, *arguments, mine, place / "backbone")
    assert tried.pop("connect") == "done"  # what it is there for
    assert {name: how for name, how in tried.items() if how == "done"} == {}
    assert len(tried) > 30
    assert _contents(site) == before
    assert openers.found() <= {pid, os.getpid()}  # this test looked at it; the bundle could not even open it

    own = _run_bundle(commands / "python", SITE_UID, *arguments, "control", place / "backbone")
    assert own["read the records"] == own["read the policy"] == own["read the ledger"] == "done"
    assert len(openers.found()) == 3 or not openers.is_watching  # so who opens it is seen
    openers.close()
    assert processes.stop("site") == 0
