# SPDX-License-Identifier: Apache-2.0
"""A resident site whose budget is used up, so that an accidentally sound request is refused as well."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import tomli_w

from fedpeft.data.embedding import DIMENSION, NAME
from fedpeft.delivery import Delivery
from fedpeft.deployment.resident import serve
from fedpeft.deployment.site_file import SiteFile, load_site_file
from fedpeft.privacy.histogram import VoteRequest
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.site import service, wire
from fedpeft.site import site as site_module
from fedpeft.site.remote import RemoteSite
from fedpeft.testing import tiny_config, write_records
from fedpeft.types import Schedule, TrainRequest
from fedpeft.workspace import Workspace

STEPS, NOISE, VOTE_NOISE = 2, 1.5, 6.5
SCHEDULE = Schedule(
    "run", ((NOISE, STEPS),), 0.5, "record",
    votes=(("synthesis", VOTE_NOISE, 1), ("evaluation", VOTE_NOISE, 1)),
)  # fmt: skip
POLICY = {
    "identity": "site0", "unit": "record", "declared_units": 40, "epsilon": 50.0, "delta": 1e-5,
    "stages": ["training", "synthesis", "evaluation"], "sub_budgets": [50.0], "crash_reserve": 0,
}  # fmt: skip
_LAST_DAY = "expires = 2999-12-31\n"


def write_organization(folder: Path, socket: Path) -> Path:
    """Write backbone, records, policy and ``SITE.toml``; returns the path of the latter."""
    tiny_config(folder, num_sites=1)
    write_records(folder / "public.jsonl", 8, seed=9)
    (folder / "policy.toml").write_text(_LAST_DAY + tomli_w.dumps(POLICY), "utf-8")
    tables = {
        "site": {"socket": str(socket), "courier": "nobody", "path": "site0.jsonl", "slot_s": 0.0},
        "model": {"backbone": str(folder / "backbone")},
        "adapter": {"rank": 2},
        "data": {"source": "jsonl", "task": "task", "id": "id", "max_length": 64, "root": str(folder)},
        "evaluation": {"private": True, "public": True, "path": "public.jsonl"},
        "run": {"threads": 1},
    }
    (folder / "SITE.toml").write_text(tomli_w.dumps(tables), "utf-8")
    return folder / "SITE.toml"


def sound_messages(file: SiteFile) -> dict[str, bytes]:
    """By method: a request that such a site serves, once."""
    with Workspace(file.config, file.keys.folder) as workspace:
        adapter = workspace.adapter
        digest, segments, zeros = adapter.digest, len(adapter.layout.segments), adapter.zeros()
    train = TrainRequest(
        "run", "run:site0:1", 1, STEPS, 0.5, NOISE, 0.5, (1.0,) * segments, "flat", digest, zeros, ""
    )
    bins = np.eye(3, DIMENSION, dtype=np.float32)
    messages = {
        wire.DESCRIBE: wire.encode_describe(),
        wire.COMMIT: wire.encode_schedule(SCHEDULE),
        wire.TRAIN: wire.encode_train(train),
        wire.VOTE: wire.encode_vote(VoteRequest("run", "run:site0:v", VOTE_NOISE, NAME, 1, bins, "")),
        wire.EVALUATE: wire.encode_evaluate(
            EvaluateRequest("run", "run:site0:e", VOTE_NOISE, digest, zeros, "")
        ),
        wire.DELIVER: wire.encode_deliver(Delivery.of("run", digest, zeros, b'{"epsilon": 8.0}')),
    }
    return {method: message.SerializeToString() for method, message in messages.items()}


class Watch:
    """What a site must not do while it is asked nonsense.

    Attributes:
        reads: how often private data were computed on.
        failures: exceptions that the service met, by their type's name; none is a refusal.
    """

    def __init__(self, file: SiteFile) -> None:
        """Watch the site of ``file``."""
        self._file = file
        self.reads = 0
        self.failures: list[str] = []

    def state(self) -> str:
        """Hash of the ledger and of everything that was delivered."""
        digest = hashlib.sha256()
        with contextlib.closing(sqlite3.connect(self._file.ledger)) as ledger:
            for table in ("meta", "commitments", "events", "head", "releases"):
                digest.update(repr(ledger.execute(f"SELECT * FROM {table}").fetchall()).encode())
        for path in sorted((self._file.keys.folder / "delivered").rglob("*")):
            digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
        return digest.hexdigest()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count within the context."""
        heard = logging.Handler(logging.ERROR)
        heard.emit = lambda record: self.failures.append(  # type: ignore[method-assign]
            record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else record.getMessage()
        )
        with contextlib.ExitStack() as stack:
            for name in ("local_update", "release_vote", "release_metric"):
                stack.enter_context(mock.patch.object(site_module, name, self._counted(name)))
            service._log.addHandler(heard)
            stack.callback(service._log.removeHandler, heard)
            yield

    def _counted(self, name: str) -> Callable[..., object]:
        real = getattr(site_module, name)

        def counted(*given: object, **named: object) -> object:
            self.reads += 1
            return real(*given, **named)

        return counted


def with_site(ask: Callable[[RemoteSite, dict[str, bytes], Watch], None]) -> None:
    """Serve in a folder of its own, in this thread, while ``ask`` asks."""
    with tempfile.TemporaryDirectory(prefix="fp") as name:
        folder = Path(name)
        (folder / "run").mkdir(mode=0o750)
        file = load_site_file(write_organization(folder, folder / "run/site.sock"))
        messages, watch = sound_messages(file), Watch(file)
        remote = RemoteSite(file.keys.socket, answer_s=120, train_s=120)
        with watch.watching():
            serve(file, one_user_trial=True, wait=lambda: ask(remote, messages, watch))
