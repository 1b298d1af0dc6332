# SPDX-License-Identifier: Apache-2.0
"""Votes: charged first, of norm at most 1 a unit, noised as charged, refused before data are read."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from fedpeft.data.embedding import DIMENSION, NAME, embed_all
from fedpeft.errors import LedgerError, Refusal
from fedpeft.privacy.arithmetic import float as float_module
from fedpeft.privacy.arithmetic import grid as grid_module
from fedpeft.privacy.histogram import MAX_BINS, VoteRequest
from fedpeft.privacy.ledger import Ledger, verify
from fedpeft.privacy.policy import Policy
from fedpeft.privacy.randomness import Randomness
from fedpeft.privacy.tasks import UnitWeights
from fedpeft.site import voting
from fedpeft.site.payload import histogram_from_bytes, to_bytes
from fedpeft.site.site import Site
from fedpeft.site.voting import unit_vote, vote_blocks
from fedpeft.types import RefusalCode, Schedule
from tests.site.conftest import Workbench

MULTIPLIER = 3.0
TOPICS = ("the weather is fine today", "boil two eggs for breakfast", "sort a list of numbers in place")
BINS = embed_all(TOPICS).astype(np.float32)
TEXTS = {
    "a": ("the weather was fine yesterday",),
    "b": ("boil three eggs", "sort these numbers in a list"),
    "c": ("is the weather fine?", "how is the weather?", "fine weather today"),
    "d": (),
}


def make_site(
    folder: Path,
    workbench: Workbench,
    texts: Mapping[str, Sequence[str]] | None = TEXTS,
    seed: int = 0,
    arithmetic: str = "grid",
    weights: UnitWeights | None = None,
    **changes: object,
) -> Site:
    policy = Policy(
        **(
            {"identity": "here", "unit": "record", "declared_units": 10, "epsilon": 50.0, "delta": 1e-5,
             "expires": datetime.date.max, "stages": ("synthesis", "training")} | changes
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
        arithmetic=arithmetic,
        texts=texts,
        weights=weights,
    )


def schedule(votes: tuple[tuple[str, float, int], ...] = (("synthesis", MULTIPLIER, 2),)) -> Schedule:
    return Schedule("run", ((4.0, 3),), 0.5, "record", votes=votes)


def request_for(**changes: object) -> VoteRequest:
    return dataclasses.replace(VoteRequest("run", "run:here:v1", MULTIPLIER, NAME, 1, BINS, ""), **changes)


@pytest.fixture
def site(tmp_path: Path, workbench: Workbench) -> Site:
    made = make_site(tmp_path, workbench)
    made.commit(schedule())
    return made


def noiseless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_module, "standard_normal", lambda _stream, count: np.zeros(count))
    monkeypatch.setattr(grid_module, "discrete_gaussian", lambda _stream, n: np.zeros(n, dtype=np.int64))


def test_units_vote_for_the_bins_that_are_near(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    noiseless(monkeypatch)
    histogram = site.vote(request_for())
    assert histogram.values == pytest.approx([2.0, 0.5, 0.5], abs=1e-3)
    event = histogram.event
    assert (event.kind, event.noise_multiplier, event.sampling_rate, event.steps) == (
        "gaussian", MULTIPLIER, 1.0, 1,
    )  # fmt: skip


@pytest.mark.parametrize("neighbours", [1, 2, 3, 9])
@pytest.mark.parametrize("records", [1, 2, 7, 500])
def test_a_vote_has_norm_at_most_one_and_reaches_it(records: int, neighbours: int) -> None:
    generator = np.random.default_rng(records)
    bins = embed_all(TOPICS)
    for _ in range(5):
        texts = ["".join(generator.choice(list("abcdefgh "), 30)) for _ in range(records)]
        assert np.linalg.norm(unit_vote(texts, bins, neighbours)) <= 1 + 1e-12
    assert np.linalg.norm(unit_vote(["fine weather"] * records, bins, neighbours)) == pytest.approx(1.0)


def test_equally_near_bins_go_by_their_number() -> None:
    bins = np.repeat(embed_all(TOPICS[:1]), 4, axis=0)
    assert unit_vote([TOPICS[0]], bins, 2) == pytest.approx([0.5**0.5, 0.5**0.5, 0.0, 0.0])
    assert unit_vote(["", "  "], bins, 1) == pytest.approx([1.0, 0.0, 0.0, 0.0])
    assert unit_vote([], bins, 1) == pytest.approx(np.zeros(4))


def test_huge_bins_do_no_harm() -> None:
    bins = np.full((3, DIMENSION), 3e38)
    assert np.linalg.norm(unit_vote(["some text"], bins, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize("neighbours", [1, 2])
def test_adding_a_unit_moves_the_sum_by_at_most_one(
    tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    noiseless(monkeypatch)
    sums = []
    for i, extra in enumerate(({}, {"new": ["boil two eggs for breakfast"] * 300})):
        site = make_site(tmp_path / str(i), workbench, TEXTS | extra, arithmetic="float")
        site.commit(schedule())
        sums.append(site.vote(request_for(neighbours=neighbours)).values.astype(float))
    moved = np.linalg.norm(sums[1] - sums[0])
    assert 0.999 < moved <= 1.0


def test_the_order_of_units_and_records_does_not_matter(
    tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = []
    turned = {unit: tuple(reversed(TEXTS[unit])) for unit in reversed(TEXTS)}
    for i, texts in enumerate((TEXTS, turned)):
        site = make_site(tmp_path / str(i), workbench, texts)
        site.commit(schedule())
        sums.append(site.vote(request_for()).values)
    assert np.array_equal(sums[0], sums[1])  # the same noise, so the same sum


def test_it_is_charged_before_a_text_is_read(tmp_path: Path, workbench: Workbench) -> None:
    class Watched(dict):
        def values(self):  # type: ignore[no-untyped-def]
            seen.append(len(site.ledger.spent()))
            return super().values()

    seen: list[int] = []
    site = make_site(tmp_path, workbench, Watched(TEXTS))
    site.commit(schedule())
    site.vote(request_for())
    assert seen == [1]
    report = verify(tmp_path / "here.sqlite")
    assert report.ok, report.problems
    (run,) = report.runs
    assert (run.stage, run.votes, run.parts) == ("synthesis+training", ((MULTIPLIER, 2),), ((4.0, 3),))
    assert (run.steps_committed, run.steps_spent) == (3, 0)


def test_the_same_request_gets_the_same_bytes_and_another_a_refusal(site: Site) -> None:
    first = site.vote(request_for())
    again = site.vote(request_for())
    assert np.array_equal(first.values, again.values)
    assert first.event == again.event
    assert len(site.ledger.spent()) == 1
    with pytest.raises(Refusal) as refused:
        site.vote(request_for(bins=BINS[::-1].copy()))
    assert refused.value.code is RefusalCode.REPLAY


def test_it_ends_with_what_was_committed(site: Site) -> None:
    for i in range(2):
        site.vote(request_for(request_id=f"run:here:v{i}"))
    with pytest.raises(Refusal) as refused:
        site.vote(request_for(request_id="run:here:v3"))
    assert refused.value.code is RefusalCode.BUDGET


HOSTILE = [
    ({"protocol": 2}, RefusalCode.PROTOCOL),
    ({"run_id": ""}, RefusalCode.MALFORMED),
    ({"request_id": ""}, RefusalCode.MALFORMED),
    ({"noise_multiplier": 0.0}, RefusalCode.MALFORMED),
    ({"noise_multiplier": float("nan")}, RefusalCode.MALFORMED),
    ({"embedding": "other"}, RefusalCode.MALFORMED),
    ({"neighbours": 0}, RefusalCode.MALFORMED),
    ({"neighbours": 65}, RefusalCode.MALFORMED),
    ({"bins": BINS[:0]}, RefusalCode.MALFORMED),
    ({"bins": BINS[:, :4]}, RefusalCode.MALFORMED),
    ({"bins": BINS[0]}, RefusalCode.MALFORMED),
    ({"bins": BINS * np.float32("nan")}, RefusalCode.MALFORMED),
    ({"bins": np.zeros((5000, DIMENSION), dtype=np.float32)}, RefusalCode.MALFORMED),
    ({"noise_multiplier": 1.0}, RefusalCode.POLICY),
    ({"run_id": "another"}, RefusalCode.POLICY),
    ({"ledger_head": "0" * 64}, RefusalCode.ROLLBACK),
]


@pytest.mark.parametrize(("changes", "code"), HOSTILE)
def test_a_hostile_request_is_refused_before_data_are_read(
    tmp_path: Path, workbench: Workbench, changes: dict, code: RefusalCode
) -> None:
    class Closed(dict):
        def values(self):  # type: ignore[no-untyped-def]
            raise AssertionError("data were read")

    site = make_site(tmp_path, workbench, Closed(TEXTS))
    site.commit(schedule())
    with pytest.raises(Refusal) as refused:
        site.vote(request_for(**changes))
    assert refused.value.code is code
    assert site.ledger.spent() == []


def test_a_policy_without_the_stage_refuses_both(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, stages=("training",))
    for ask in (lambda: site.commit(schedule()), lambda: site.vote(request_for())):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.code is RefusalCode.POLICY
    site.commit(schedule(()))  # and goes on without votes


def test_steps_do_not_pay_for_votes(tmp_path: Path, workbench: Workbench) -> None:
    """Neither those of a run without votes, nor those of one whose votes are used up."""
    site = make_site(tmp_path / "one", workbench)
    site.commit(schedule(()))
    with pytest.raises(Refusal) as refused:
        site.vote(request_for(noise_multiplier=4.0))
    assert refused.value.code is RefusalCode.POLICY
    site = make_site(tmp_path / "two", workbench)
    site.commit(schedule((("synthesis", 4.0, 1),)))
    site.vote(request_for(noise_multiplier=4.0))
    with pytest.raises(Refusal) as refused:
        site.vote(request_for(noise_multiplier=4.0, request_id="run:here:v2"))
    assert refused.value.code is RefusalCode.BUDGET


def test_a_site_without_texts_refuses(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, None)
    site.commit(schedule())
    with pytest.raises(Refusal, match="does not vote"):
        site.vote(request_for())
    assert site.ledger.spent() == []


def test_a_site_whose_tasks_have_weights_refuses(tmp_path: Path, workbench: Workbench) -> None:
    class Closed(dict):
        def values(self):  # type: ignore[no-untyped-def]
            raise AssertionError("data were read")

    weights = UnitWeights((("rare", 0.1), ("usual", 1.0)), {})
    site = make_site(tmp_path, workbench, Closed(TEXTS), weights=weights)
    for ask in (lambda: site.commit(schedule()), lambda: site.vote(request_for())):
        with pytest.raises(Refusal, match="weights of tasks") as refused:
            ask()
        assert refused.value.code is RefusalCode.POLICY
    assert site.ledger.spent() == []


@pytest.mark.parametrize("units", [0, 1, 4, 5, 8, 9])
def test_blocks_are_of_one_size_whatever_the_number_of_units(
    monkeypatch: pytest.MonkeyPatch, units: int
) -> None:
    monkeypatch.setattr(voting, "_BLOCK_NUMBERS", 13)  # four rows of three bins
    bins = BINS.astype(np.float64)
    texts = {str(i): [TOPICS[i % 3]] for i in range(units)}
    arrays, total = [], np.zeros(3)
    for block in vote_blocks(texts, bins, 1):
        arrays.append(block)
        total += block.sum(0)
    assert {block.shape for block in arrays} == {(4, 3)}
    assert len({id(block) for block in arrays}) == 1  # never two in memory
    assert len(arrays) == max(1, -(-units // 4))
    assert total == pytest.approx([len(range(i, units, 3)) for i in range(3)])


def test_many_bins_make_no_larger_blocks() -> None:
    (block,) = vote_blocks({"a": [TOPICS[0]]}, np.zeros((MAX_BINS, 1)) + embed_all(TOPICS[:1]), 1)
    assert block.size <= 2**20
    assert len(block) > 1


def test_the_size_of_blocks_does_not_change_the_release(
    tmp_path: Path, workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = []
    for numbers in (1, 6, 2**20):
        monkeypatch.setattr(voting, "_BLOCK_NUMBERS", numbers)
        site = make_site(tmp_path / str(numbers), workbench)
        site.commit(schedule())
        sums.append(site.vote(request_for()).values)
    assert np.array_equal(sums[0], sums[1])
    assert np.array_equal(sums[0], sums[2])


def test_no_unit_at_all_releases_noise(tmp_path: Path, workbench: Workbench) -> None:
    site = make_site(tmp_path, workbench, {})
    site.commit(schedule())
    assert (site.vote(request_for()).values != 0).all()


def test_stored_histograms_are_read_strictly(site: Site) -> None:
    histogram = site.vote(request_for())
    again = histogram_from_bytes(to_bytes(histogram))
    assert np.array_equal(again.values, histogram.values)
    for bad in (b"", b"[]", b"{}", to_bytes(histogram)[:40]):
        with pytest.raises(LedgerError, match="release"):
            histogram_from_bytes(bad)


def test_nothing_is_printed_or_logged(
    site: Site, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    site.vote(request_for())
    assert (capsys.readouterr().out, capsys.readouterr().err, caplog.text) == ("", "", "")
