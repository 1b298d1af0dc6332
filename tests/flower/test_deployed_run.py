# SPDX-License-Identifier: Apache-2.0
"""The coordinator of a deployment: it reads no site's records, and goes on where it was interrupted."""

import json
from pathlib import Path

import pytest
import tomli_w

from fedpeft import run_sources
from fedpeft.config import load_config
from fedpeft.errors import ConfigError, DataError, Refusal, RunDirectoryError
from fedpeft.flower.apps import conduct_run
from fedpeft.flower.client import build_client_app
from fedpeft.flower.grid import InProcessGrid
from fedpeft.flower.simulation import simulate
from fedpeft.flower.transport import FlowerTransport
from fedpeft.folder import open_run
from fedpeft.testing import tiny_config
from fedpeft.types import RefusalCode

ROUNDS = 3


class _KilledError(BaseException):
    """Stands for the coordinator's death: nothing in the product catches it."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tiny_config(tmp_path, num_sites=1)
    tables = {
        "model": {"backbone": str(tmp_path / "backbone")},
        "adapter": {"rank": 2},
        "data": {"source": "sites", "max_length": 64},
        "privacy": {"delta": 1e-5},
        "training": {"sampling_rate": 0.1},
        "federation": {"rounds": ROUNDS},
        "run": {"threads": 1},
        "sites": [{"name": f"site-{i:02d}", "declared_units": 100} for i in range(2)],
    }
    path = tmp_path / "deployed.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


@pytest.fixture
def conduct(run: Path, make_sites):
    """``conduct(out)`` runs, or with ``resume=True`` goes on; returns the requests that were answered."""
    sites, find = make_sites(2)

    def conduct(out: Path, **more: bool) -> list:
        for site in sites:
            site.calls.clear()
        transport = FlowerTransport(InProcessGrid(build_client_app(find), 2))
        try:
            conduct_run(transport, {"run": str(run), "out": str(out), **more})
        finally:
            asked = [call[1] for site in sites for call in site.calls if call[0] == "train"]
        return asked

    conduct.sites = sites
    return conduct


def test_no_records_of_a_site_are_read(conduct, tmp_path, monkeypatch):
    monkeypatch.setattr(run_sources, "read_sites", lambda *_: pytest.fail("a site's records were read"))
    assert len(conduct(tmp_path / "out")) == 2 * ROUNDS
    assert (tmp_path / "out/adapter").is_dir()
    assert not (tmp_path / "out/ledger").exists()  # the organizations have their own


def test_it_goes_on_where_it_was_interrupted(conduct, tmp_path):
    second = conduct.sites[1]
    second.raises = {}
    real = second.train

    def killed_in_round_two(request):
        if request.round_number == 2:
            raise _KilledError
        return real(request)

    second.train = killed_in_round_two
    with pytest.raises(_KilledError):
        conduct(tmp_path / "out")
    del second.train
    asked = conduct(tmp_path / "out", resume=True)
    assert sorted({request.round_number for request in asked}) == [2, 3]  # the first is not asked again
    assert len({request.run_id for request in asked}) == 1
    assert (tmp_path / "out/result.json").is_file()
    with pytest.raises(RunDirectoryError, match="complete"):
        conduct(tmp_path / "out", resume=True)
    with pytest.raises(RunDirectoryError, match="not a run"):
        conduct(tmp_path, resume=True)


def test_every_site_gets_adapter_and_result_and_who_was_away_gets_them_later(conduct, tmp_path):
    first, second = conduct.sites
    first.raises = {"deliver": Refusal(RefusalCode.UNAVAILABLE)}
    conduct(tmp_path / "out")
    told = tmp_path / "out/delivered.json"
    assert json.loads(told.read_text()) == {first.name: "unavailable", second.name: "delivered"}
    first.raises = {}
    asked = conduct(tmp_path / "out", deliver=True)
    assert asked == []  # nothing is trained for it
    assert json.loads(told.read_text()) == {first.name: "delivered", second.name: "delivered"}
    (delivery,) = [argument for method, argument in first.calls if method == "deliver"]
    assert delivery.config == (tmp_path / "out/config.toml").read_bytes()
    result = json.loads((tmp_path / "out/result.json").read_text())
    rounds = [json.loads(line) for line in (tmp_path / "out/rounds.jsonl").read_text().splitlines()]
    assert result.pop("seconds")["train"] > 0
    assert all(record.pop("seconds") for record in rounds)
    del result["peak_rss_mb"]
    assert json.loads(delivery.result) == result
    assert [json.loads(line) for line in delivery.rounds.splitlines()] == rounds
    config, checkpoint = open_run(tmp_path / "out")
    assert delivery.run_id == checkpoint.run_id
    averaged = config.federation.average_iterates
    assert delivery.adapter.tolist() == checkpoint.released(averaged=averaged).tolist()
    with pytest.raises(ConfigError, match="no such file"):
        conduct(tmp_path, deliver=True)


def test_what_is_delivered_says_nothing_of_how_long_a_site_took(conduct, tmp_path):
    conduct(tmp_path / "out")
    (delivery,) = [argument for method, argument in conduct.sites[0].calls if method == "deliver"]
    for paper in (delivery.result, delivery.rounds):
        assert b"seconds" not in paper
        assert b"peak_rss" not in paper
    assert b"seconds" in (tmp_path / "out/rounds.jsonl").read_bytes()  # the coordinator's own has them


def test_a_deployments_run_is_no_simulation(run, tmp_path):
    with pytest.raises(DataError, match="flwr run"):
        simulate(load_config(run), tmp_path / "out")
    assert not (tmp_path / "out").exists()
