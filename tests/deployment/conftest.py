# SPDX-License-Identifier: Apache-2.0
"""An organization in a folder: tiny backbone, records, policy and SITE.toml."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fedpeft.deployment.resident import serve
from fedpeft.deployment.site_file import SiteFile, load_site_file
from fedpeft.site.remote import RemoteSite
from fedpeft.testing import tiny_config
from fedpeft.types import Schedule, TrainRequest
from fedpeft.workspace import Workspace

MakeSite = Callable[..., Path]


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short path, as the socket's must be, that only its owner and group may enter."""
    made = Path(tempfile.mkdtemp(prefix="fp"))
    made.chmod(0o750)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def make_site(tmp_path: Path, sockets: Path) -> MakeSite:
    """``make_site()`` writes everything and returns the path of ``SITE.toml``; arguments change tables."""

    def make(*, policy: dict | None = None, site: dict | None = None, **sections: dict) -> Path:
        tiny_config(tmp_path, num_sites=1)
        terms = {
            "identity": "site0", "unit": "record", "declared_units": 40, "epsilon": 8.0, "delta": 1e-5,
            "crash_reserve": 0,
        }  # fmt: skip
        text = tomli_w.dumps(terms | (policy or {})) + "expires = 2999-12-31\n"
        (tmp_path / "policy.toml").write_text(text, "utf-8")
        keys = {
            "socket": str(sockets / "site.sock"),
            "courier": "nobody",
            "path": "site0.jsonl",
            "slot_s": 0.0,
        }
        tables = {
            "site": {key: value for key, value in (keys | (site or {})).items() if value is not None},
            "model": {"backbone": str(tmp_path / "backbone")},
            "adapter": {"rank": 2},
            "data": {"source": "jsonl", "task": "task", "id": "id", "max_length": 64, "root": str(tmp_path)},
            "run": {"threads": 1},
        }
        path = tmp_path / "SITE.toml"
        path.write_text(tomli_w.dumps(tables | sections), "utf-8")
        return path

    return make


@dataclasses.dataclass(frozen=True)
class Resident:
    """A site that serves in the test's own thread: what a test asks is what the site waits for."""

    file: SiteFile
    schedule = Schedule.constant("run", 1.5, 0.5, 4, "record")

    def serve(self, ask: Callable[[RemoteSite], None]) -> None:
        """Serve while ``ask`` asks."""
        remote = RemoteSite(self.file.keys.socket, answer_s=120, train_s=120)
        assert serve(self.file, one_user_trial=True, wait=lambda: ask(remote))

    def request(self, **changes: Any) -> TrainRequest:
        """Of the first round, well-formed but for the changes."""
        with Workspace(self.file.config, self.file.keys.folder) as workspace:
            adapter = workspace.adapter
            digest, segments, zeros = adapter.digest, len(adapter.layout.segments), adapter.zeros()
        plain = TrainRequest(
            "run", "run:site0:1", 1, 1, 0.5, 1.5, 0.5, (1.0,) * segments, "flat", digest, zeros, ""
        )
        return dataclasses.replace(plain, **changes)

    def rows(self) -> list[tuple]:
        """Everything in the ledger that is about budget."""
        with sqlite3.connect(self.file.ledger) as ledger:
            tables = ("events", "commitments", "head")
            return [row for table in tables for row in ledger.execute(f"SELECT * FROM {table}")]


@pytest.fixture
def resident(make_site: MakeSite) -> Resident:
    """One whose whole budget is a single run's."""
    return Resident(load_site_file(make_site(policy={"epsilon": 50.0, "sub_budgets": [50.0]})))
