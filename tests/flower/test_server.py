# SPDX-License-Identifier: Apache-2.0
"""Both apps and the round loop together: what a deployment, a simulation and a test all run."""

import numpy as np
import pytest

from fedpeft.aggregation.base import maker
from fedpeft.aggregation.server_optimizer import Sgd
from fedpeft.aggregation.smoothing import Smoother
from fedpeft.checkpoint import Checkpoint, load
from fedpeft.errors import Refusal
from fedpeft.federation import RoundPlan, run_rounds
from fedpeft.flower.client import build_client_app
from fedpeft.flower.grid import InProcessGrid, server_context
from fedpeft.flower.server import build_server_app
from fedpeft.privacy.allocation.allocator import Allocator
from fedpeft.privacy.allocation.uniform import Rule as Uniform
from fedpeft.types import Layout, RefusalCode, Schedule, Segment

SIZE = 10


LAYOUT = Layout((Segment("a", 0, "m", (SIZE,), 0),))


def _run(sites, find_site, folder, *, start=None, **changes):
    plan = {
        "local_steps": 2, "learning_rates": (0.5,) * 3, "clipping": "flat", "layout_digest": "abc",
        "allocator": Allocator(Uniform(), LAYOUT, 1.0), "smoother": Smoother(LAYOUT, 0.0),
        "num_sites": len(sites), "min_sites": len(sites), "deadline_s": 60.0,
        **changes,
    }  # fmt: skip
    outcomes = []

    def conduct(transport, run_config):
        assert run_config == {"run": "/run.toml"}
        outcomes.append(
            run_rounds(
                transport,
                RoundPlan(**plan),
                start or Checkpoint.fresh("run", np.zeros(SIZE, np.float32), {}),
                schedule=lambda facts: {
                    name: Schedule.constant("run", 1.1, 0.1, 6, "record") for name in facts
                },
                new_aggregator=maker("mean"),
                optimizer=Sgd(1.0, 0.0),
                folder=folder,
            )
        )

    grid = InProcessGrid(build_client_app(find_site), len(sites))
    build_server_app(conduct)(grid, server_context({"run": "/run.toml"}))
    return outcomes[0]


def test_a_run_of_three_sites_is_what_the_sites_released(make_sites, tmp_path):
    sites, find_site = make_sites(3)
    outcome = _run(sites, find_site, tmp_path)
    adapter = np.zeros(SIZE, np.float32)
    requests = [[request for call, request in site.calls if call == "train"] for site in sites]
    for asked in zip(*requests, strict=True):
        assert all(request.adapter.tobytes() == adapter.tobytes() for request in asked)
        updates = [site.train(r).values.astype(float) for site, r in zip(sites, asked, strict=True)]
        adapter = (adapter + sum(updates) / 3).astype(np.float32)
    np.testing.assert_allclose(outcome.state.adapter, adapter, rtol=1e-6)
    assert outcome.stopped_because == "completed"


def test_fifty_sites(make_sites, tmp_path):
    sites, find_site = make_sites(50)
    outcome = _run(sites, find_site, tmp_path, learning_rates=(0.5, 0.5))
    assert outcome.state.rounds_completed == 2
    assert len(outcome.events) == 50


def test_a_site_that_refuses_is_named_by_its_code_alone(make_sites, tmp_path):
    sites, find_site = make_sites(3, train=Refusal(RefusalCode.ROLLBACK, "backup of 3 May"))
    outcome = _run(sites, find_site, tmp_path, min_sites=2)
    assert outcome.state.records[0]["refused"] == {"site-00": "rollback"}
    assert "3 May" not in (tmp_path / "rounds.jsonl").read_text()


def test_an_interrupted_run_goes_on_to_the_same_bits(make_sites, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole").mkdir()
    whole = _run(*make_sites(3), tmp_path / "whole")
    sites, find_site = make_sites(3)
    train = sites[1].train

    def interrupt(request):
        if request.round_number == 2:
            raise KeyboardInterrupt
        return train(request)

    sites[1].train = interrupt
    assert _run(sites, find_site, tmp_path / "parts").stopped_because == "interrupted"
    resumed = _run(*make_sites(3), tmp_path / "parts", start=load(tmp_path / "parts" / "checkpoint"))
    assert resumed.state.adapter.tobytes() == whole.state.adapter.tobytes()


def test_what_the_conductor_raises_ends_the_run(make_sites):
    def conduct(transport, run_config):
        raise RuntimeError("no such file")

    grid = InProcessGrid(build_client_app(make_sites(1)[1]), 1)
    with pytest.raises(RuntimeError, match="no such file"):
        build_server_app(conduct)(grid, server_context())
