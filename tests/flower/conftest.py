# SPDX-License-Identifier: Apache-2.0
"""A site of a few lines for the tests in this folder, and the identity that Flower keeps in the process."""

import numpy as np
import pytest

import fedpeft.flower  # noqa: F401  # sets the environment before flwr is imported
from fedpeft.delivery import Delivery
from fedpeft.errors import Refusal
from fedpeft.privacy.histogram import PrivateHistogram, VoteRequest
from fedpeft.privacy.metric import EvaluateRequest, PrivateMetric
from fedpeft.types import PrivacyEvent, PrivateUpdate, SiteFacts, TrainRequest


class FakeSite:
    """Answers as a function of the request alone; ``raises`` maps a method's name to what it raises."""

    def __init__(self, index: int, name: str | None = None, raises: dict | None = None):
        self.name = name or f"site-{index:02d}"
        self.raises = raises or {}
        self.calls: list = []

    def facts(self):
        self._called("facts")
        return SiteFacts(self.name, 100, "record", 8.0, 1e-5, "genesis")

    def commit(self, schedule):
        self._called("commit", schedule)

    def train(self, request):
        self._called("train", request)
        noise = np.random.default_rng(list(request.request_id.encode())).standard_normal(request.adapter.size)
        event = PrivacyEvent(
            "poisson-gaussian", request.noise_multiplier, request.sampling_rate, request.local_steps, "record"
        )
        values = (0.01 * noise).astype(np.float32)
        return PrivateUpdate(request.request_id, values, event, f"head:{request.request_id}")

    def vote(self, request):
        self._called("vote", request)
        values = np.arange(len(request.bins), dtype=np.float32) + len(request.request_id)
        event = PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, "record")
        return PrivateHistogram(request.request_id, values, event, f"head:{request.request_id}")

    def evaluate(self, request):
        self._called("evaluate", request)
        event = PrivacyEvent("gaussian", request.noise_multiplier, 1.0, 1, "record")
        return PrivateMetric(
            request.request_id, float(request.adapter.sum()), 10.0, event, f"head:{request.request_id}"
        )

    def deliver(self, delivery):
        self._called("deliver", delivery)

    def _called(self, method, argument=None):
        self.calls.append((method, argument))
        if method in self.raises:
            raise self.raises[method]


@pytest.fixture
def make_sites():
    """``make_sites(3)``: sites by partition id, and the function that finds one in a context."""

    def make(num_sites: int, **raises: Exception):
        sites = [FakeSite(i, raises=raises if i == 0 else None) for i in range(num_sites)]
        return sites, lambda context: sites[context.node_config["partition-id"]]

    return make


@pytest.fixture
def request_for():
    """``request_for("a", adapter)``: a well-formed request of round 1."""

    def make(site: str, adapter=None, number: int = 1) -> TrainRequest:
        vector = np.zeros(4, np.float32) if adapter is None else adapter
        return TrainRequest(
            "run", f"run:{site}:{number}", number, 2, 0.5, 1.1, 0.1, (1.0, 2.5), "flat", "abc", vector, "head"
        )

    return make


@pytest.fixture
def vote_for():
    """``vote_for("a")``: a well-formed request for a vote on three bins."""

    def make(site: str) -> VoteRequest:
        return VoteRequest("run", f"run:{site}:v", 6.5, "map", 1, np.eye(3, 4, dtype=np.float32), "head")

    return make


@pytest.fixture
def evaluation_for():
    """``evaluation_for("a")``: a well-formed request for a private evaluation."""

    def make(site: str) -> EvaluateRequest:
        return EvaluateRequest("run", f"run:{site}:e", 3.5, "abc", np.ones(4, np.float32), "head")

    return make


@pytest.fixture
def delivery() -> Delivery:
    """A well-formed one."""
    return Delivery.of("run", "abc", np.arange(4, dtype=np.float32), b'{"epsilon": 8.0}')


@pytest.fixture
def budget_refusal():
    from fedpeft.types import RefusalCode

    return Refusal(RefusalCode.BUDGET, "4.2 of 4.0 spent on patient Ada Lovelace")
