# SPDX-License-Identifier: Apache-2.0
"""Settings for a time budget, with a machine of a made-up speed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fedpeft import search, timing
from fedpeft.cli import main
from fedpeft.config import RunConfig, load_config
from fedpeft.cost import Lengths
from fedpeft.errors import ConfigError
from fedpeft.plan import make_plan
from fedpeft.privacy.accountant import calibrate
from fedpeft.privacy.calibration import central_limit
from fedpeft.proposal import Proposal, propose
from fedpeft.search import FEWEST_STEPS, Budget, Search, merit
from fedpeft.testing import tiny_config

LENGTHS = Lengths(64, 32)
RUN = """
[data]
source = "docstrings"
[privacy]
delta = 1e-5
[[sites]]
name = "one"
package = "json"
declared_units = 3000
[[sites]]
name = "two"
package = "email"
declared_units = 4000
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    path = tmp_path_factory.mktemp("proposal") / "run.toml"
    path.write_text(RUN, encoding="utf-8")
    return load_config(path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches trust their guesses of the noise; what is proposed is calibrated all the same."""
    monkeypatch.setattr(search, "calibrate", central_limit)


def _caching(config: RunConfig, cached: bool) -> RunConfig:
    training = config.training.model_copy(update={"prefix_cache": "auto" if cached else "off"})
    return config.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def proposals(config: RunConfig) -> dict[tuple[float, bool], Proposal]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "calibrate", central_limit)
        return {
            (minutes, cached): propose(_caching(config, cached), Budget(minutes, 80e9, LENGTHS))
            for minutes, cached in ((2.0, False), (8.0, False), (8.0, True), (500.0, False))
        }


def test_a_proposal_keeps_the_budget_and_beats_its_neighbours(proposals, config: RunConfig) -> None:
    for (minutes, _), proposal in proposals.items():
        chosen = proposal.proposed
        assert chosen.minutes <= minutes
        assert chosen.minutes > 0.95 * minutes or chosen.config.training.sampling_rate == 1
        assert chosen.steps >= FEWEST_STEPS
    chosen = proposals[8.0, False].proposed
    for times in (0.5, 2.0):  # the same work in fewer, larger and in more, smaller steps
        training = chosen.config.training.model_copy(
            update={"sampling_rate": chosen.config.training.sampling_rate / times}
        )
        rounds = chosen.config.federation.model_copy(update={"rounds": round(chosen.steps * times)})
        plan = make_plan(chosen.config.model_copy(update={"training": training, "federation": rounds}))
        other = merit(chosen.blocks, chosen.config.adapter.rank, rounds.rounds, plan.signal_over_noise)
        assert other < 1.01 * chosen.merit


def test_more_time_and_a_cache_are_worth_something(proposals) -> None:
    merits = [proposals[key].proposed.merit for key in ((2.0, False), (8.0, False), (8.0, True))]
    assert merits == sorted(set(merits))
    assert proposals[500.0, False].proposed.blocks > proposals[2.0, False].proposed.blocks


def test_the_figures_are_those_of_the_plan_of_its_own_settings(proposals, config: RunConfig) -> None:
    proposal = proposals[8.0, False]
    taken = load_config(config.source_path, [*proposal.overrides, "training.prefix_cache=off"])
    assert taken == proposal.proposed.config
    plan = make_plan(taken)
    figures = proposal.proposed.to_json()
    assert figures["noise_multiplier"] == plan.sites[0].noise_multiplier
    assert figures["signal_over_noise"] == plan.signal_over_noise
    assert figures["trainable_parameters"] == plan.layout.size
    assert plan.sites[0].epsilon <= 8
    assert proposal.current.plan == make_plan(_caching(config, cached=False))


def test_the_lines_for_the_toml_say_the_same(proposals, tmp_path: Path) -> None:
    proposal = proposals[8.0, False]
    lines = proposal.toml.replace("[training]", '[training]\nprefix_cache = "off"')
    (tmp_path / "run.toml").write_text(lines + RUN, encoding="utf-8")
    taken = load_config(tmp_path / "run.toml")
    for section in ("adapter", "training", "federation"):
        assert getattr(taken, section) == getattr(proposal.proposed.config, section)


def test_it_is_deterministic_and_calibrates_little(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(100.0, 80e9, LENGTHS)
    asked = set()
    monkeypatch.setattr(search, "calibrate", lambda *a: asked.add(a) or calibrate(*a))
    heard = []
    first = Search(config, budget).best(lambda done, total: heard.append((done, total)))
    assert 1 <= len(asked) <= 6
    assert heard == [(i + 1, len(heard)) for i in range(len(heard))]
    assert Search(config, budget).best() == first


def test_sites_of_many_epsilons_do_not_multiply_the_calibrations(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = tuple(
        site.model_copy(update={"epsilon": e}) for site, e in zip(config.sites, (1.0, 8.0), strict=True)
    )
    asked = set()
    monkeypatch.setattr(search, "calibrate", lambda *a: asked.add(a) or central_limit(*a))
    Search(config.model_copy(update={"sites": sites}), Budget(3.0, 80e9, LENGTHS)).best()
    assert len(asked) <= 6


def test_local_steps_and_reserve_stay_and_are_paid_for(config: RunConfig) -> None:
    training = config.training.model_copy(update={"local_steps": 3})
    privacy = config.privacy.model_copy(update={"crash_reserve": 2})
    changed = config.model_copy(update={"training": training, "privacy": privacy})
    proposed = propose(changed, Budget(4.0, 80e9, LENGTHS)).proposed
    assert proposed.config.training.local_steps == 3
    assert proposed.steps == 3 * proposed.config.federation.rounds >= FEWEST_STEPS
    assert proposed.plan.sites[0].steps == proposed.steps + 6
    assert proposed.minutes <= 4.0


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_no_budget(minutes: float) -> None:
    with pytest.raises(ConfigError, match=r"--minutes = .*above 0"):
        Budget(minutes, 1e9, LENGTHS)


def test_a_budget_that_is_too_small_names_the_least(config: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"--minutes = 0.0001: must be at least .* --min-steps") as error:
        propose(config, Budget(1e-4, 80e9, LENGTHS))
    least = float(str(error.value).split("at least ")[1].split()[0])
    assert propose(config, Budget(least, 80e9, LENGTHS)).proposed.minutes <= least
    with pytest.raises(ConfigError):
        propose(config, Budget(0.8 * least, 80e9, LENGTHS))


def test_merit() -> None:
    assert merit(4, 8, 16, 5.0) > merit(4, 8, 16, 4.0)  # signal
    assert merit(4, 8, 16, 5.0) > merit(4, 8, 8, 5.0)  # steps
    at = {rank: merit(1, rank, 16, 40.0 / math.sqrt(rank)) for rank in (25, 100, 400)}
    assert max(at, key=lambda rank: at[rank]) == 100  # where 0.25 of the ratio is one


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_config(tmp_path)
    for i in range(2):
        (tmp_path / f"site{i}.jsonl").unlink()  # reads no data
    monkeypatch.setattr(timing, "measured_speed", lambda *_: 1e6)
    run = str(tmp_path / "run.toml")
    assert main(["plan", run, "--minutes", "2", "--mean-length", "20", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    proposal = answer["proposal"]
    assert proposal["proposed"]["minutes"] <= 2
    assert (proposal["mean_length"], proposal["mean_response"]) == (20, 10)
    assert proposal["current"]["noise_multiplier"] == answer["sites"][0]["noise_multiplier"]
    assert main(["plan", run, "--minutes", "2"]) == 0
    text = capsys.readouterr().out
    for word in ("expected minutes", "signal over noise", "--set 'training.sampling_rate=", "[adapter]"):
        assert word in text
    assert main(["plan", run, "--min-steps", "4"]) == 2
    assert "--min-steps: has no use without --minutes" in capsys.readouterr().err
    assert main(["plan", run, "--minutes", "nan"]) == 2
