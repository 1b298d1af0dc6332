# SPDX-License-Identifier: Apache-2.0
"""Private evaluation: charged first, moved by at most one a unit, refused before data are read."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import numpy as np
import pytest

from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.arithmetic import float as float_module
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.privacy.ledger import Ledger, verify
from fedpeft.privacy.metric import EvaluateRequest
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.site.evaluation import HeldOut
from fedpeft.site.payload import metric_from_bytes, metric_to_bytes
from fedpeft.site.site import Site
from fedpeft.types import RefusalCode, Schedule
from tests.site.conftest import Workbench

MULTIPLIER = 3.0
UNITS = {"a": [True, True], "b": [False], "c": [True, False], "d": []}


def make_site(
    folder: Path, workbench: Workbench, judge=lambda: UNITS, seed: int = 0, weights=None, **changes: object
) -> Site:
    policy = Policy(
        **(
            {"identity": "here", "unit": "record", "declared_units": 10, "epsilon": 50.0, "delta": 1e-5,
             "expires": datetime.date.max, "stages": ("evaluation",)} | changes
        )
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Site(
        {},
        policy,
        Ledger.open(folder / "here.sqlite", policy),
        workbench,
        max_tokens=64,
        new_randomness=lambda request_id: Randomness.seeded(seed, request_id),
        arithmetic="grid",
        held_out=None if judge is None else HeldOut(judge, 4.0),
        weights=weights,
    )


def schedule(stage: str = "evaluation", rate: float | None = None) -> Schedule:
    """Two releases about every unit; or, with a rate, two sampled steps of the same noise."""
    if rate is not None:
        return Schedule("run", ((MULTIPLIER, 2),), rate, "record", stage)
    return Schedule("run", (), 1.0, "record", stage, votes=((stage, MULTIPLIER, 2),))


def request_for(workbench: Workbench, **changes: object) -> EvaluateRequest:
    adapter = workbench.adapter
    plain = EvaluateRequest("run", "run:here:m1", MULTIPLIER, adapter.digest, adapter.zeros(), "")
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def site(tmp_path: Path, workbench: Workbench) -> Site:
    made = make_site(tmp_path, workbench)
    made.commit(schedule())
    return made


def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_module, "standard_normal", lambda _stream, count: np.zeros(count))
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda _stream, n: np.zeros(n, dtype=np.int64))


def test_it_counts_units_by_the_share_of_their_right_records(
    site: Site, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noiseless(monkeypatch)
    metric = site.evaluate(request_for(workbench))
    assert metric.correct == pytest.approx(1.5, abs=1e-3)
    assert metric.declared == 4.0
    assert (metric.event.noise_multiplier, metric.event.sampling_rate, metric.event.steps) == (
        MULTIPLIER,
        1.0,
        1,
    )


def test_a_unit_of_many_records_moves_the_count_by_at_most_one(
    tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noiseless(monkeypatch)
    counts = []
    for i, extra in enumerate(({}, {"new": [True] * 500})):
        site = make_site(tmp_path / str(i), workbench, lambda extra=extra: UNITS | extra)
        site.commit(schedule())
        counts.append(site.evaluate(request_for(workbench)).correct)
    assert 0.99 < counts[1] - counts[0] <= 1.0


def test_the_noise_has_the_deviation_that_is_charged(tmp_path: Path, workbench: Workbench) -> None:
    counts = []
    for seed in range(150):
        site = make_site(tmp_path / str(seed), workbench, seed=seed)
        site.commit(schedule())
        counts.append(site.evaluate(request_for(workbench)).correct)
    assert 0.8 < np.std(counts) / MULTIPLIER < 1.2
    assert abs(np.mean(counts) - 1.5) < 4 * MULTIPLIER / np.sqrt(150)


def test_it_is_charged_before_a_record_is_judged(tmp_path: Path, workbench: Workbench) -> None:
    seen = []
    site = make_site(tmp_path, workbench, lambda: seen.append(len(site.ledger.spent())) or UNITS)
    site.commit(schedule())
    site.evaluate(request_for(workbench))
    assert seen == [1]
    assert verify(tmp_path / "here.sqlite").ok


def test_the_same_request_gets_the_same_bytes_and_another_a_refusal(site: Site, workbench: Workbench) -> None:
    first = site.evaluate(request_for(workbench))
    assert site.evaluate(request_for(workbench)) == first
    assert len(site.ledger.spent()) == 1
    moved = workbench.adapter.zeros()
    moved[0] = 1.0
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench, adapter=moved))
    assert refused.value.code is RefusalCode.REPLAY


def test_a_site_whose_tasks_have_weights_refuses(tmp_path: Path, workbench: Workbench) -> None:
    weights = UnitWeights((("rare", 0.1), ("usual", 1.0)), {})
    site = make_site(tmp_path, workbench, lambda: pytest.fail("data were read"), weights=weights)
    whole = site.ledger.available()
    for ask in (lambda: site.commit(schedule()), lambda: site.evaluate(request_for(workbench))):
        with pytest.raises(Refusal, match="weights of tasks") as refused:
            ask()
        assert refused.value.code is RefusalCode.POLICY
    assert site.ledger.available() == whole  # a run with counts is not committed for nothing
    assert site.ledger.spent() == []


def test_it_ends_with_what_was_committed(site: Site, workbench: Workbench) -> None:
    for i in range(2):
        site.evaluate(request_for(workbench, request_id=f"run:here:m{i}"))
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench, request_id="run:here:m3"))
    assert refused.value.code is RefusalCode.BUDGET


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, RefusalCode.PROTOCOL),
        ({"run_id": ""}, RefusalCode.MALFORMED),
        ({"request_id": ""}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
        ({"noise_multiplier": float("nan")}, RefusalCode.MALFORMED),
        ({"layout_digest": "other"}, RefusalCode.MALFORMED),
        ({"adapter": np.zeros(3, dtype=np.float32)}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 1.0}, RefusalCode.POLICY),
        ({"run_id": "another"}, RefusalCode.POLICY),
        ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
    ],
)
def test_a_hostile_request_is_refused_before_data_are_read(
    tmp_path: Path, workbench: Workbench, changes: dict, code: RefusalCode
) -> None:
    def judge() -> dict:
        raise AssertionError("data were read")

    site = make_site(tmp_path, workbench, judge)
    site.commit(schedule())
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench, **changes))
    assert refused.value.code is code
    assert site.ledger.spent() == []


def test_a_commitment_pays_for_its_own_stage_only(tmp_path: Path, workbench: Workbench) -> None:
    """Steps that were committed for training cannot be spent on metrics, and a policy may allow neither."""
    site = make_site(tmp_path / "one", workbench, stages=("training", "evaluation"))
    site.commit(schedule("training"))
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench))
    assert refused.value.code is RefusalCode.POLICY
    site = make_site(tmp_path / "two", workbench, stages=("training",))
    for ask in (lambda: site.commit(schedule()), lambda: site.evaluate(request_for(workbench))):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.code is RefusalCode.POLICY


@pytest.mark.parametrize("rate", [0.5, 1.0])
def test_a_commitment_of_sampled_steps_does_not_pay(
    tmp_path: Path, workbench: Workbench, rate: float
) -> None:
    """The count is over all units, so amplification by sampling must not be claimed for it."""
    site = make_site(tmp_path, workbench)
    site.commit(schedule(rate=rate))
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench))
    assert refused.value.code is RefusalCode.POLICY
    assert site.ledger.spent() == []


def test_steps_and_evaluations_of_one_run_are_composed_and_counted_apart(
    tmp_path: Path, workbench: Workbench
) -> None:
    """The run takes less than two runs would; neither kind may use what is left of the other."""
    both = Schedule("run", ((MULTIPLIER, 9),), 0.5, "record", votes=(("evaluation", MULTIPLIER, 1),))
    site = make_site(tmp_path / "both", workbench, stages=("training", "evaluation"))
    together = site.ledger.commit(both)
    apart = make_site(tmp_path / "apart", workbench, stages=("training", "evaluation"))
    steps = apart.ledger.commit(dataclasses.replace(both, votes=()))
    assert steps.epsilon < together.epsilon
    counts = apart.ledger.commit(dataclasses.replace(schedule(), run_id="other"))
    assert together.epsilon < 0.9 * (steps.epsilon + counts.epsilon)
    site.evaluate(request_for(workbench))
    with pytest.raises(Refusal) as refused:
        site.evaluate(request_for(workbench, request_id="run:here:m2"))
    assert refused.value.code is RefusalCode.BUDGET
    assert verify(site.ledger.path).ok


def test_a_site_that_holds_nothing_out_refuses(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, None)
    site.commit(schedule())
    with pytest.raises(Refusal, match="nothing out"):
        site.evaluate(request_for(workbench))
    assert site.ledger.spent() == []


def test_no_unit_at_all_releases_noise(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, dict)
    site.commit(schedule())
    assert site.evaluate(request_for(workbench)).correct != 0


def test_stored_metrics_are_read_strictly(site: Site, workbench: Workbench) -> None:
    metric = site.evaluate(request_for(workbench))
    assert metric_from_bytes(metric_to_bytes(metric)) == metric
    for bad in (b"", b"[]", b"{}", metric_to_bytes(metric)[:-9]):
        with pytest.raises(LedgerError, match="restore the ledger"):
            metric_from_bytes(bad)
