# SPDX-License-Identifier: Apache-2.0
"""Votes on blocks: the gradients one at a time would make them, charged first, of norm at most 1 a unit."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from pathlib import Path

import numpy as np
import pytest

from fedpeft.adapters.adapter import Adapter
from fedpeft.data.prompts import Example
from fedpeft.data.split import votes_on_blocks
from fedpeft.errors import Refusal
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.privacy.histogram import VoteRequest, block_map
from fedpeft.privacy.ledger import Ledger, verify
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.settings import AdapterSettings
from fedpeft.site import block_votes
from fedpeft.site.block_votes import block_points, num_blocks
from fedpeft.site.site import Site
from fedpeft.site.voting import in_blocks, vote_of
from fedpeft.testing import dummy_examples, loop_gradients, tiny_backbone
from fedpeft.training.execution import PLAIN
from fedpeft.types import RefusalCode, Schedule

MULTIPLIER = 3.0


class Workbench:
    """All three blocks of a tiny backbone."""

    def __init__(self) -> None:
        self.model = tiny_backbone(num_blocks=3).model
        self.adapter = Adapter(self.model, AdapterSettings(rank=2, modules=["q_proj", "v_proj"]))
        self.execution = PLAIN
        self.lock = threading.Lock()


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench()


def units(count: int = 5) -> dict[str, tuple[Example, ...]]:
    examples = dummy_examples([9, 12, 7, 9, 20] * 2, 300, 1)
    found = {f"u{i}": (examples[i],) for i in range(count)}
    return found | {"many": tuple(examples[5:8])}


def make_site(folder: Path, bench: Workbench, own: dict, share: float = 1.0, **changes: object) -> Site:
    policy = Policy(
        **(
            {"identity": "here", "unit": "record", "declared_units": 10, "epsilon": 50.0, "delta": 1e-5,
             "expires": datetime.date.max, "stages": ("selection", "training")} | changes
        )
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Site(
        own, policy, Ledger.open(folder / "here.sqlite", policy), bench, max_tokens=64,
        new_randomness=lambda request_id: Randomness.seeded(0, request_id), vote_share=share,
    )  # fmt: skip


def schedule() -> Schedule:
    return Schedule("run", ((4.0, 3),), 0.5, "record", votes=(("selection", MULTIPLIER, 1),))


def request(bench: Workbench, **changes: object) -> VoteRequest:
    made = VoteRequest(
        "run", "run:here:v", MULTIPLIER, block_map(bench.adapter.digest), 1, np.eye(3, dtype=np.float32), ""
    )
    return dataclasses.replace(made, **changes)


def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda _stream, n: np.zeros(n, dtype=np.int64))


def test_points_are_the_lengths_that_a_loop_finds(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_votes, "_TOGETHER", 2)
    bench.adapter.load(np.ones(bench.adapter.layout.size, np.float32))  # must not matter
    points = list(block_points(bench.model, bench.adapter, units(), 40))
    bench.adapter.load(bench.adapter.zeros())
    for own, found in zip(units().values(), points, strict=True):
        assert found.shape == (len(own), 3)
        for example, row in zip(own, found, strict=True):
            gradients = loop_gradients(bench.adapter, bench.adapter.zeros(), example)
            squares = np.zeros(3)
            for segment, gradient in zip(bench.adapter.layout.segments, gradients, strict=True):
                squares[segment.block] += float(gradient.square().sum())
            assert row == pytest.approx(np.sqrt(squares), rel=1e-4)


def test_a_record_votes_for_its_longest_blocks() -> None:
    axes = np.eye(4)
    points = np.array([[0.1, 5.0, 3.0, 0.2], [0.0, 0.0, 0.0, 7.0]])
    assert vote_of(points[:1], axes, 1) == pytest.approx([0, 1, 0, 0])
    assert vote_of(points[:1], axes, 2) == pytest.approx([0, 0.5**0.5, 0.5**0.5, 0])
    assert vote_of(points, axes, 1) == pytest.approx([0, 0.5, 0, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_votes_for_nothing(bad: float) -> None:
    points = np.array([[1.0, bad, 0.0], [0.0, 3.0, 1.0]])
    assert vote_of(points, np.eye(3), 1) == pytest.approx([0, 0.5, 0])
    assert vote_of(points[:1], np.eye(3), 1) == pytest.approx(np.zeros(3))


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_a_units_vote_has_norm_at_most_one_and_reaches_it(neighbours: int) -> None:
    random = np.random.default_rng(neighbours)
    for records in (1, 3, 40):
        vote = vote_of(random.standard_normal((records, 5)), np.eye(5), neighbours)
        assert np.linalg.norm(vote) <= 1 + 1e-12
        same = vote_of(np.ones((records, 5)), np.eye(5), neighbours)  # ties, by number
        assert np.linalg.norm(same) == pytest.approx(1.0)
        assert np.flatnonzero(same).tolist() == list(range(neighbours))


def test_what_is_released_is_the_sum_and_is_charged_first(
    tmp_path: Path, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noiseless(monkeypatch)
    seen: list[int] = []

    class Watched(dict):
        def items(self):  # type: ignore[no-untyped-def]
            seen.append(len(site.ledger.spent()))
            return super().items()

    site = make_site(tmp_path, bench, Watched(units()))
    site.commit(schedule())
    histogram = site.vote(request(bench))
    assert seen == [1]
    points = block_points(bench.model, bench.adapter, units(), 64)
    expected = sum(block.sum(0) for block in in_blocks(points, np.eye(3), 1))
    assert histogram.values == pytest.approx(expected, abs=1e-3)
    assert expected.sum() == pytest.approx(len(units()))
    report = verify(tmp_path / "here.sqlite")
    assert report.ok, report.problems
    assert report.runs[0].stage == "selection+training"


def test_adding_a_unit_moves_the_sum_by_at_most_one(
    tmp_path: Path, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noiseless(monkeypatch)
    sums = []
    for count in (4, 5):
        site = make_site(tmp_path / str(count), bench, units(count))
        site.commit(schedule())
        sums.append(site.vote(request(bench, neighbours=2)).values.astype(float))
    assert 0.99 < np.linalg.norm(sums[1] - sums[0]) <= 1.0 + 1e-3


def test_a_share_of_the_units_votes_and_others_do_not_move_it(
    tmp_path: Path, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    noiseless(monkeypatch)
    chosen = [unit for unit in units() if votes_on_blocks(unit, 0.5)]
    assert 0 < len(chosen) < len(units())
    site = make_site(tmp_path, bench, units(), share=0.5)
    site.commit(schedule())
    assert site.vote(request(bench)).values.sum() == pytest.approx(len(chosen), abs=1e-2)
    many = [votes_on_blocks(f"unit {i}", 0.2) for i in range(4000)]
    assert 0.17 < np.mean(many) < 0.23


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"embedding": block_map("0" * 64)}, RefusalCode.MALFORMED),
        ({"bins": np.eye(4, dtype=np.float32)}, RefusalCode.MALFORMED),
        ({"bins": np.eye(3, dtype=np.float32) * np.float32("nan")}, RefusalCode.MALFORMED),
        ({"noise_multiplier": 1.0}, RefusalCode.POLICY),
        ({"run_id": "other"}, RefusalCode.POLICY),
        ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
    ],
)
def test_hostile_requests_are_refused_before_data_are_read(
    tmp_path: Path, bench: Workbench, changes: dict, code: RefusalCode
) -> None:
    class Closed(dict):
        def items(self):  # type: ignore[no-untyped-def]
            raise AssertionError("data were read")

    site = make_site(tmp_path, bench, Closed(units()))
    site.commit(schedule())
    with pytest.raises(Refusal) as refused:
        site.vote(request(bench, **changes))
    assert refused.value.code is code
    assert site.ledger.spent() == []


def test_a_policy_without_the_stage_refuses(tmp_path: Path, bench: Workbench) -> None:
    site = make_site(tmp_path, bench, units(), stages=("synthesis", "training"))
    for ask in (lambda: site.commit(schedule()), lambda: site.vote(request(bench))):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.code is RefusalCode.POLICY
    assert site.ledger.spent() == []


def test_votes_on_texts_do_not_pay_for_votes_on_blocks(tmp_path: Path, bench: Workbench) -> None:
    site = make_site(tmp_path, bench, units(), stages=("synthesis", "selection", "training"))
    site.commit(Schedule("run", ((4.0, 3),), 0.5, "record", votes=(("synthesis", MULTIPLIER, 1),)))
    with pytest.raises(Refusal, match="committed for") as refused:
        site.vote(request(bench))
    assert refused.value.code is RefusalCode.POLICY


def test_no_unit_at_all_releases_noise(tmp_path: Path, bench: Workbench) -> None:
    site = make_site(tmp_path, bench, {})
    site.commit(schedule())
    assert (site.vote(request(bench)).values != 0).all()
    assert num_blocks(bench.adapter.layout) == 3
