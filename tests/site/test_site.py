# SPDX-License-Identifier: Apache-2.0
"""What a site refuses before it reads data, what it charges, and that only the noised values differ."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.ledger import Ledger
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.site import site as site_module
from fedpeft.site.payload import from_bytes, to_bytes
from fedpeft.site.site import Site
from fedpeft.testing import dummy_examples
from fedpeft.training.execution import PLAIN
from fedpeft.types import PrivateUpdate, RefusalCode, Schedule, TrainRequest
from tests.site.conftest import Workbench

MULTIPLIER, RATE, STEPS = 1.0, 0.5, 4


def units(count: int = 6) -> dict[str, tuple]:
    return {f"u{i}": (e,) for i, e in enumerate(dummy_examples(range(8, 8 + count), 300))}


def make_site(
    folder: Path,
    workbench: Workbench,
    data: dict | None = None,
    weights: UnitWeights | None = None,
    pairs: dict | None = None,
    **policy: object,
) -> Site:
    terms = Policy(
        **(
            {"identity": "here", "unit": "record", "declared_units": 10, "epsilon": 50.0, "delta": 1e-5,
             "expires": datetime.date.max} | policy
        )
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Site(
        units() if data is None else data,
        terms,
        Ledger.open(folder / "here.sqlite", terms),
        workbench,
        max_tokens=64,
        new_randomness=lambda request_id: Randomness.seeded(1, request_id),
        weights=weights,
        pairs=pairs,
    )


def schedule(noise_multiplier: float = MULTIPLIER, sampling_rate: float = RATE) -> Schedule:
    return Schedule.constant("run", noise_multiplier, sampling_rate, STEPS, "record")


def request_for(workbench: Workbench, **changes: object) -> TrainRequest:
    adapter = workbench.adapter
    plain = TrainRequest(
        run_id="run",
        request_id="run:here:1",
        round_number=1,
        local_steps=1,
        learning_rate=0.5,
        noise_multiplier=MULTIPLIER,
        sampling_rate=RATE,
        scales=(1.0,) * len(adapter.layout.segments),
        clipping="automatic",
        layout_digest=adapter.digest,
        adapter=adapter.zeros(),
        ledger_head="",
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def site(tmp_path: Path, workbench: Workbench) -> Site:
    made = make_site(tmp_path, workbench)
    made.commit(schedule())
    return made


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, RefusalCode.PROTOCOL),
        ({"run_id": ""}, RefusalCode.MALFORMED),
        ({"request_id": ""}, RefusalCode.MALFORMED),
        ({"round_number": 0}, RefusalCode.MALFORMED),
        ({"local_steps": 0}, RefusalCode.MALFORMED),
        ({"learning_rate": float("nan")}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
        ({"noise_multiplier": float("inf")}, RefusalCode.MALFORMED),
        ({"sampling_rate": 1.5}, RefusalCode.MALFORMED),
        ({"scales": (1.0,)}, RefusalCode.MALFORMED),
        ({"scales": (1.0, 0.0)}, RefusalCode.MALFORMED),
        ({"scales": (1.0, float("nan"))}, RefusalCode.MALFORMED),
        ({"scales": (1e-30, 1e30)}, RefusalCode.MALFORMED),
        ({"clipping": "none"}, RefusalCode.MALFORMED),
        ({"task_weights": (("a", 2.0),)}, RefusalCode.MALFORMED),
        ({"task_weights": (("a", 0.5),)}, RefusalCode.MALFORMED),
        ({"task_weights": (("a", 1.0),)}, RefusalCode.POLICY),
        ({"layout_digest": "other"}, RefusalCode.MALFORMED),
        ({"rank": -1}, RefusalCode.MALFORMED),
        ({"rank": 3}, RefusalCode.MALFORMED),
        ({"adapter": np.zeros(3, dtype=np.float32)}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 0.5}, RefusalCode.POLICY),
        ({"sampling_rate": 0.6}, RefusalCode.POLICY),
        ({"run_id": "another"}, RefusalCode.POLICY),
        ({"local_steps": STEPS + 1}, RefusalCode.BUDGET),
        ({"local_steps": 10**6}, RefusalCode.BUDGET),
        ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
    ],
)
def test_a_hostile_request_is_refused_before_data_are_read(
    site: Site, workbench: Workbench, monkeypatch: pytest.MonkeyPatch, changes: dict, code: RefusalCode
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("data were read")

    monkeypatch.setattr(site_module, "local_update", read)
    head = site.ledger.head
    with pytest.raises(Refusal) as refused:
        site.train(request_for(workbench, **changes))
    assert refused.value.code is code
    assert site.ledger.head == head
    assert site.ledger.spent() == []


def test_non_finite_adapters_are_refused(site: Site, workbench: Workbench) -> None:
    bad = workbench.adapter.zeros()
    bad[3] = np.nan
    with pytest.raises(Refusal, match="malformed"):
        site.train(request_for(workbench, adapter=bad))


def test_a_run_that_was_not_committed_or_does_not_fit_is_refused(
    tmp_path: Path, workbench: Workbench
) -> None:
    small = make_site(tmp_path, workbench, epsilon=0.5)
    with pytest.raises(Refusal, match="budget"):
        small.commit(schedule())
    with pytest.raises(Refusal, match="policy"):
        small.train(request_for(workbench))


def test_a_policy_without_training_refuses_everything(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, stages=["synthesis"])
    with pytest.raises(Refusal, match="policy"):
        site.commit(schedule())
    with pytest.raises(Refusal, match="policy"):
        site.train(request_for(workbench))


def test_the_same_request_gets_the_same_release_and_pays_once(site: Site, workbench: Workbench) -> None:
    first, again = (site.train(request_for(workbench)) for _ in range(2))
    np.testing.assert_array_equal(first.values, again.values)
    assert (first.event, first.ledger_head) == (again.event, again.ledger_head)
    assert len(site.ledger.spent()) == 1
    with pytest.raises(Refusal, match="replay"):
        site.train(request_for(workbench, learning_rate=0.4))


def test_the_event_is_charged_before_anything_is_computed(
    site: Site, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = site_module.local_update, []

    def watching(*arguments: object) -> object:
        seen.append(len(site.ledger.spent()))
        return original(*arguments)

    monkeypatch.setattr(site_module, "local_update", watching)
    update = site.train(request_for(workbench))
    assert seen == [1]
    assert site.ledger.spent() == [update.event]
    assert update.ledger_head == site.ledger.head


def test_a_failure_costs_its_charge_and_blocks_nobody(
    site: Site, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(site_module, "local_update", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            site.train(request_for(workbench))
    outcome: list[PrivateUpdate] = []
    thread = threading.Thread(target=lambda: outcome.append(site.train(request_for(workbench))))
    thread.start()
    thread.join(60)
    assert len(outcome) == 1
    assert len(site.ledger.spent()) == 2


def test_an_event_that_was_not_charged_never_leaves(
    site: Site, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = site_module.local_update

    def cheaper(*arguments: object) -> object:
        released = original(*arguments)
        event = dataclasses.replace(released.event, noise_multiplier=2.0)
        return SimpleNamespace(value=released.value, event=event)

    monkeypatch.setattr(site_module, "local_update", cheaper)
    with pytest.raises(Exception, match="nothing is released"):
        site.train(request_for(workbench))


@pytest.mark.parametrize("change", ["one more", "one less", "none at all"])
def test_neighbouring_data_change_the_noised_values_only(
    tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Everything else that leaves is the same: ids, events, heads, lengths, facts - under one clock."""
    moment = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    other = units(7) if change == "one more" else units(5) if change == "one less" else {}
    answers = []
    for name, data in (("a", units()), ("b", other)):
        site = make_site(tmp_path / name, workbench, data)
        monkeypatch.setattr(site.ledger, "_clock", lambda: moment)
        facts = site.facts()
        site.commit(schedule())
        answers.append((facts, site.train(request_for(workbench)), site.facts()))
    (facts, update, later), (facts2, update2, later2) = answers
    assert (facts, later) == (facts2, later2)
    assert (update.event, update.request_id, update.ledger_head) == (
        update2.event,
        update2.request_id,
        update2.ledger_head,
    )
    assert update.values.shape == update2.values.shape
    assert update.values.dtype == update2.values.dtype
    assert not np.array_equal(update.values, update2.values)


def test_one_unit_moves_the_update_by_at_most_its_sensitivity(tmp_path: Path, workbench: Workbench) -> None:
    """Given the same noise, neighbours differ by at most learning rate x 1 / expected batch."""
    updates = []
    for name, data in (("a", units()), ("b", units(7))):
        site = make_site(tmp_path / name, workbench, data)
        site.commit(schedule(sampling_rate=1.0, noise_multiplier=5.0))
        updates.append(
            site.train(request_for(workbench, sampling_rate=1.0, noise_multiplier=5.0)).values.astype(float)
        )
    moved = np.linalg.norm(updates[1] - updates[0])
    assert 0 < moved <= 0.5 * 1 / 10 + 1e-6


@pytest.mark.parametrize("clipping", ["automatic", "flat", "quantile"])
@pytest.mark.parametrize(("task", "bound"), [("rare", 0.3), ("usual", 1.0)])
def test_one_unit_of_a_task_moves_the_update_by_at_most_its_own_sensitivity(
    tmp_path: Path, workbench: Workbench, clipping: str, task: str, bound: float
) -> None:
    """Neighbours that differ by a unit of that task; the bound is reached, so a larger one shows."""
    by_task, updates = (("rare", 0.09), ("usual", 1.0)), []
    of_unit = {f"u{i}": (0.09, 1.0)[i % 2] for i in range(6)} | {"u6": dict(by_task)[task]}
    for name, data in (("a", units()), ("b", units(7))):
        site = make_site(tmp_path / name, workbench, data, UnitWeights(by_task, of_unit))
        site.commit(schedule(sampling_rate=1.0, noise_multiplier=5.0))
        request = request_for(
            workbench, sampling_rate=1.0, noise_multiplier=5.0, task_weights=by_task, clipping=clipping,
            scales=(1e-4, 1e-4), learning_rate=5000.0,
        )  # fmt: skip
        size = workbench.adapter.layout.size
        updates.append(site.train(request).values.astype(float)[:size])
    moved = np.linalg.norm(updates[1] - updates[0])
    assert 0.9 * bound * 0.05 < moved <= bound * 0.05 * (1.006 if clipping == "quantile" else 1) + 1e-6


def test_weights_that_are_not_the_site_s_are_refused_whatever_its_data(
    tmp_path: Path, workbench: Workbench
) -> None:
    by_task = (("rare", 0.09), ("usual", 1.0))
    for data in (units(), {}):
        site = make_site(tmp_path / str(len(data)), workbench, data, UnitWeights(by_task, {}))
        site.commit(schedule())
        for other in ((), (("rare", 0.1), ("usual", 1.0)), (("usual", 1.0),)):
            with pytest.raises(Refusal) as refused:
                site.train(request_for(workbench, task_weights=other))
            assert refused.value.code is RefusalCode.POLICY
        assert site.ledger.spent() == []


def test_payloads_come_back_as_they_were(site: Site, workbench: Workbench) -> None:
    update = site.train(request_for(workbench))
    again = from_bytes(to_bytes(update))
    np.testing.assert_array_equal(again.values, update.values)
    assert (again.request_id, again.event, again.ledger_head) == (
        update.request_id,
        update.event,
        update.ledger_head,
    )
    for damaged in (b"", b"{}\n", to_bytes(update)[:-2], b"not json\n1234"):
        with pytest.raises(LedgerError, match="stored release"):
            from_bytes(damaged)


class TestRoundsOfAGenerator:
    """Rounds of the stage synthesis: other texts of the same units, at the same price."""

    TERMS = ("synthesis", "training")

    def committed(self, site: Site, stage: str = "synthesis+training") -> Site:
        site.commit(dataclasses.replace(schedule(), stage=stage))
        return site

    def test_they_train_on_pairs_and_are_charged_first(
        self, tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pairs = units(3)
        site = self.committed(make_site(tmp_path, workbench, pairs=pairs, stages=self.TERMS))
        seen, local_update = [], site_module.local_update

        def watched(model: object, adapter: object, data: object, *rest: object) -> object:
            seen.append((data is pairs, len(site.ledger.spent())))
            return local_update(model, adapter, data, *rest)

        monkeypatch.setattr(site_module, "local_update", watched)
        site.train(request_for(workbench, stage="synthesis"))
        site.train(request_for(workbench, request_id="run:here:2"))
        assert seen == [(True, 1), (False, 2)]
        assert len(set(site.ledger.spent())) == 1

    def test_their_loss_is_over_all_tokens(
        self, tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever few labels the run's own rounds tell apart."""
        monkeypatch.setattr(workbench, "execution", dataclasses.replace(PLAIN, vocabulary=(3, 5)))
        site = self.committed(make_site(tmp_path, workbench, pairs=units(3), stages=self.TERMS))
        seen, local_update = [], site_module.local_update

        def watched(*given: object) -> object:
            seen.append(given[7].vocabulary)
            return local_update(*given[:7], PLAIN, *given[8:])

        monkeypatch.setattr(site_module, "local_update", watched)
        site.train(request_for(workbench, stage="synthesis"))
        site.train(request_for(workbench, request_id="run:here:2"))
        assert seen == [(), (3, 5)]

    def test_a_repeated_request_of_another_stage_is_another_one(
        self, tmp_path: Path, workbench: Workbench
    ) -> None:
        site = self.committed(make_site(tmp_path, workbench, pairs=units(3), stages=self.TERMS))
        site.train(request_for(workbench))
        with pytest.raises(Refusal) as refused:
            site.train(request_for(workbench, stage="synthesis"))
        assert refused.value.code is RefusalCode.REPLAY

    @pytest.mark.parametrize(
        ("terms", "stage", "asked", "code"),
        [
            (("training",), "training", "synthesis", RefusalCode.POLICY),
            (("synthesis", "training"), "training", "synthesis", RefusalCode.POLICY),
            (("synthesis", "training"), "synthesis", "training", RefusalCode.POLICY),
            (("synthesis", "training"), "synthesis+training", "", RefusalCode.POLICY),
            (("evaluation", "training"), "evaluation+training", "evaluation", RefusalCode.MALFORMED),
        ],
    )
    def test_what_was_not_agreed_is_refused_and_costs_nothing(
        self, tmp_path: Path, workbench: Workbench, terms: tuple, stage: str, asked: str, code: RefusalCode
    ) -> None:
        site = self.committed(make_site(tmp_path, workbench, pairs=units(3), stages=terms), stage)
        with pytest.raises(Refusal) as refused:
            site.train(request_for(workbench, stage=asked))
        assert refused.value.code is code
        assert site.ledger.spent() == []

    def test_a_site_that_trains_none_refuses(self, tmp_path: Path, workbench: Workbench) -> None:
        site = self.committed(make_site(tmp_path, workbench, stages=self.TERMS))
        with pytest.raises(Refusal, match="trains no generator"):
            site.train(request_for(workbench, stage="synthesis"))
        assert site.ledger.spent() == []

    def test_weights_of_tasks_know_no_generator(self, tmp_path: Path, workbench: Workbench) -> None:
        weights = UnitWeights((("a", 0.5), ("b", 1.0)), dict.fromkeys(units(), 0.5))
        site = make_site(tmp_path, workbench, weights=weights, pairs=units(), stages=self.TERMS)
        with pytest.raises(Refusal, match="weights of tasks"):
            self.committed(site)
        self.committed(site, "training")
        with pytest.raises(Refusal, match="weights of tasks"):
            site.train(request_for(workbench, stage="synthesis", task_weights=weights.by_task))


def test_a_smaller_rank_is_another_request_for_the_same_price(site: Site, workbench: Workbench) -> None:
    """What leaves is as long as what was trained, and is charged like any other round."""
    whole = site.train(request_for(workbench))
    with pytest.raises(Refusal) as refused:
        site.train(request_for(workbench, rank=1))
    assert refused.value.code is RefusalCode.REPLAY
    narrow = site.train(request_for(workbench, rank=1, request_id="run:here:2"))
    assert narrow.values.size == workbench.adapter.part(1).size < whole.values.size
    assert narrow.event == whole.event
    again = site.train(request_for(workbench, rank=1, request_id="run:here:2"))
    assert again.values.tobytes() == narrow.values.tobytes()
