# SPDX-License-Identifier: Apache-2.0
"""A tiny backbone for real sites, a site that answers what it was asked, and a folder for sockets."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpeft.adapters.adapter import Adapter
from fedpeft.delivery import Delivery
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.settings import AdapterSettings
from fedpeft.testing import tiny_backbone
from fedpeft.training.execution import PLAIN
from fedpeft.types import Layout, PrivacyEvent, PrivateUpdate, Schedule, Segment, SiteFacts, TrainRequest

HEAD = "ab" * 32


class Workbench:
    """What the sites of a process share."""

    def __init__(self) -> None:
        self.model = tiny_backbone().model
        self.adapter = Adapter(self.model, AdapterSettings(rank=2, layers=[1], modules=["q_proj", "v_proj"]))
        self.execution = PLAIN
        self.lock = threading.Lock()


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    """One for all tests of a file."""
    return Workbench()


class FakeSite:
    """Answers as a function of the request alone, or raises; ``work`` is called in a training."""

    layout = Layout((Segment("a", 0, "q", (3,), 0),))

    def __init__(self, raises: BaseException | None = None) -> None:
        self.asked: list[object] = []
        self.raises = raises
        self.work: Callable[[], None] = lambda: None

    def facts(self) -> SiteFacts:
        self._note("facts")
        return SiteFacts("here", 10, "record", 8.0, 1e-5, HEAD)

    def commit(self, schedule: Schedule) -> None:
        self._note(schedule)

    def train(self, request: TrainRequest) -> PrivateUpdate:
        self._note(request.digest())
        self.work()
        event = PrivacyEvent(
            "poisson-gaussian", request.noise_multiplier, request.sampling_rate, request.local_steps, "record"
        )
        return PrivateUpdate(request.request_id, 2 * request.adapter, event, HEAD)

    def vote(self, request: VoteRequest) -> PrivateHistogram:
        self._note(request.digest())
        self.work()
        event = PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, "record")
        return PrivateHistogram(request.request_id, request.bins[:, 0], event, HEAD)

    def evaluate(self, request: EvaluateRequest) -> PrivateMetric:
        self._note(request.digest())
        self.work()
        event = PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, "record")
        return PrivateMetric(request.request_id, 7.25, 10.0, event, HEAD)

    def deliver(self, delivery: Delivery) -> None:
        assert delivery.digest == delivery.content_digest()
        self._note(delivery.digest)

    def _note(self, what: object) -> None:
        self.asked.append(what)
        if self.raises is not None:
            raise self.raises


@pytest.fixture
def fake_site() -> type[FakeSite]:
    """``fake_site()`` or ``fake_site(error)``."""
    return FakeSite


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: a socket's is at most 107 bytes long."""
    made = Path(tempfile.mkdtemp(prefix="fp"))
    made.chmod(0o750)
    yield made
    shutil.rmtree(made)
