# SPDX-License-Identifier: Apache-2.0
"""A policy, a cheap schedule and requests, for the tests of the ledger."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.types import Schedule, TrainRequest

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def make_policy(**changes):
    terms = {
        "identity": "st-mary",
        "unit": "record",
        "declared_units": 1000,
        "epsilon": 8.0,
        "delta": 1e-5,
        "expires": date(2026, 12, 31),
    }
    return Policy(**(terms | changes))


def make_schedule(**changes):
    terms = {"run_id": "run", "noise_multiplier": 4.0, "sampling_rate": 0.5, "steps": 5, "unit": "record"}
    terms |= changes
    given = {name: terms.pop(name) for name in ("stage", "parts") if name in terms}
    return replace(Schedule.constant(**terms), **given)


def make_request(request_id="run/1", **changes):
    terms = {
        "run_id": "run",
        "round_number": 1,
        "local_steps": 1,
        "learning_rate": 1.0,
        "noise_multiplier": 4.0,
        "sampling_rate": 0.5,
        "scales": (1.0, 2.0),
        "clipping": "automatic",
        "layout_digest": "abc",
        "adapter": np.zeros(3, dtype=np.float32),
        "ledger_head": "",
    }
    return TrainRequest(request_id=request_id, **(terms | changes))


def open_ledger(path, policy=None, **options):
    return Ledger.open(path, policy or make_policy(), **({"clock": lambda: NOON, "wait_s": 5.0} | options))


def dump(path: Path) -> str:
    """Everything that stands in the file, payloads included."""
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def edit(path: Path, *statements: str) -> None:
    """Write to the file as somebody who knows SQLite and not fedpeft."""
    with closing(sqlite3.connect(path)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture(scope="session")
def tools():
    """The functions of this module, which test modules cannot import."""
    return SimpleNamespace(
        policy=make_policy,
        schedule=make_schedule,
        request=make_request,
        open=open_ledger,
        dump=dump,
        edit=edit,
        noon=NOON,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "st-mary.sqlite"


@pytest.fixture
def ledger(path):
    """Open, with one run of five steps committed."""
    ledger = open_ledger(path)
    ledger.commit(make_schedule())
    yield ledger
    ledger.close()


@pytest.fixture
def pay():
    """Charge a request and store a release for it."""

    def pay(ledger, request, payload=b"release"):
        assert ledger.charge(request) is None
        ledger.store(request.request_id, payload)

    return pay
