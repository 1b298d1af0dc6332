# SPDX-License-Identifier: Apache-2.0
"""Which answers of a round count, and what becomes of the others."""

from dataclasses import replace

import numpy as np
import pytest

from fedpeft.aggregation.mean import Rule
from fedpeft.aggregation.tally import Ask, Tally, find_problem, largest_norm
from fedpeft.types import Layout, Part, PrivacyEvent, PrivateUpdate, RefusalCode, Segment, TrainRequest

LAYOUT = Layout((Segment("a", 0, "m", (4,), 0),))


def _ask(site: str, weight: float = 1.0) -> Ask:
    request = TrainRequest(
        "run", f"run:{site}:1", 1, 2, 0.5, 1.1, 0.1, (1.0,), "flat", "abc", np.zeros(4, np.float32), "head"
    )
    return Ask(request, "record", weight, Part.everything(LAYOUT))


def _update(site: str, value: float = 1.0) -> PrivateUpdate:
    event = PrivacyEvent("poisson-gaussian", 1.1, 0.1, 2, "record")
    return PrivateUpdate(f"run:{site}:1", np.full(4, value, np.float32), event, f"new head of {site}")


def _tally(*sites: str) -> Tally:
    return Tally({site: _ask(site) for site in sites}, Rule(4))


def test_what_was_asked_is_usable():
    assert find_problem(_ask("a"), _update("a")) is None


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_enough(position, bad):
    values = np.ones(4, np.float32)
    values[position] = bad
    assert find_problem(_ask("a"), replace(_update("a"), values=values)) == "not finite"


@pytest.mark.parametrize("shape", [(3,), (5,), (0,), (2, 2), (4, 1)])
def test_another_shape_is_a_problem(shape):
    assert find_problem(_ask("a"), replace(_update("a"), values=np.ones(shape, "f4"))) == "another length"


def test_answers_are_sorted_as_they_come():
    tally = _tally("a", "b", "c", "d")
    tally.take("a", _update("a"))
    tally.take("b", RefusalCode.ROLLBACK)
    tally.take("c", _update("c", np.nan))
    assert tally.answered == ["a"]
    assert tally.problems == {"b": "rollback", "c": "not finite", "d": "no answer"}
    assert set(tally.events) == {"a", "c"}
    assert tally.ledger_heads == {"a": "new head of a"}
    assert tally.bytes_up == 32


def test_only_the_first_answer_counts():
    tally = _tally("a", "b", "c")
    for site, first in (("a", _update("a")), ("b", RefusalCode.BUDGET), ("c", _update("c", np.nan))):
        tally.take(site, first)
        tally.take(site, _update(site, 100.0))
        tally.take(site, RefusalCode.EXPIRED)
    np.testing.assert_array_equal(tally.aggregator.result(), np.ones(4))
    assert tally.problems == {"b": "budget", "c": "not finite"}
    assert tally.bytes_up == 32


def test_a_stranger_is_ignored():
    tally = _tally("a")
    tally.take("z", _update("z"))
    assert (tally.answered, tally.events, tally.missing) == ([], {}, ["a"])


def test_weights_are_those_of_the_ask():
    tally = Tally({"a": _ask("a", 30.0), "b": _ask("b", 10.0)}, Rule(4))
    tally.take("a", _update("a", 0.5))
    tally.take("b", _update("b", 2.5))
    np.testing.assert_array_equal(tally.aggregator.result(), np.full(4, 1.0))


def _voting(site: str, vote: float, weight: float) -> tuple[Ask, PrivateUpdate]:
    ask, update = _ask(site, weight), _update(site)
    values = np.append(update.values, np.float32(vote))
    return replace(ask, request=replace(ask.request, clipping="quantile")), replace(update, values=values)


def test_votes_are_weighted_and_kept_out_of_the_aggregate():
    asks, updates = zip(*(_voting(s, v, w) for s, v, w in (("a", 0.5, 1.0), ("b", -0.5, 3.0))), strict=True)
    tally = Tally(dict(zip("ab", asks, strict=True)), Rule(4))
    for site, update in zip("ab", updates, strict=True):
        tally.take(site, update)
    seen = tally.observation(tally.aggregator.result())
    assert seen.unclipped == pytest.approx((1 + (0.5 - 1.5) / 4) / 2)
    assert seen.gradient.shape == (4,)
    assert seen.unit_noise == pytest.approx((1.1**2 + 1.1**2) / (2 * 16 * 0.99))


def test_without_votes_there_is_no_share():
    tally = _tally("a")
    tally.take("a", _update("a"))
    assert tally.observation(tally.aggregator.result()).unclipped is None


@pytest.mark.parametrize("length", [4, 6])
def test_a_vote_that_is_missing_or_too_much_is_another_length(length):
    ask, update = _voting("a", 0.5, 1.0)
    assert find_problem(ask, replace(update, values=np.ones(length, "f4"))) == "another length"


class TestTooLarge:
    """Honest answers: as many clipped units as there can be, all alike, and noise."""

    SIZE, WEIGHT = 400, 25.0

    def _honest(self, scale: float, rng: np.random.Generator) -> tuple[Ask, PrivateUpdate]:
        ask = _ask("a", self.WEIGHT)
        request = replace(ask.request, adapter=np.zeros(self.SIZE, np.float32), scales=(scale,))
        direction = rng.standard_normal(self.SIZE)
        direction /= np.linalg.norm(direction)
        values = np.zeros(self.SIZE)
        for _ in range(request.local_steps):
            noised = 2 * self.WEIGHT * direction + request.noise_multiplier * rng.standard_normal(self.SIZE)
            values -= request.learning_rate * scale * noised / self.WEIGHT
        part = Part.everything(Layout((Segment("a", 0, "m", (self.SIZE,), 0),)))
        return replace(ask, request=request, part=part), replace(
            _update("a"), values=values.astype(np.float32)
        )

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
    def test_honest_answers_never_are(self, scale: float) -> None:
        rng = np.random.default_rng(0)
        assert all(find_problem(*self._honest(scale, rng)) is None for _ in range(50))

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
    def test_a_hundred_times_as_much_is(self, scale: float) -> None:
        ask, update = self._honest(scale, np.random.default_rng(1))
        assert find_problem(ask, replace(update, values=100 * update.values)) == "too large"

    def test_frozen_segments_do_not_widen_the_bound(self) -> None:
        ask, _ = self._honest(1.0, np.random.default_rng(2))
        frozen = replace(ask, request=replace(ask.request, scales=(1.0, 2.0**40)))
        assert largest_norm(frozen) == largest_norm(ask)


def test_those_not_reached_may_answer_after_all():
    tally = _tally("a", "b", "c", "d")
    tally.take("a", _update("a"))
    tally.take("b", RefusalCode.UNAVAILABLE)
    tally.take("c", RefusalCode.BUDGET)
    assert tally.unreached == ["b", "d"]
    tally.welcome_back(tally.unreached)
    tally.take("b", _update("b"))
    tally.take("c", _update("c"))
    assert tally.answered == ["a", "b"]
    assert tally.problems == {"c": "budget", "d": "no answer"}


WIDE = Layout((Segment("B", 0, "B", (3, 2), 0), Segment("A", 0, "A", (2, 4), 6)))
NARROW = Part(WIDE, Layout((Segment("B", 0, "B", (3, 1), 0), Segment("A", 0, "A", (1, 4), 3))), 1)


def _of_rank(part: Part, weight: float) -> Ask:
    ask = _ask("a", weight)
    request = replace(ask.request, adapter=np.zeros(14, np.float32), scales=(1.0, 2.0), rank=part.rank)
    return Ask(request, "record", weight, part)


def _numbered(site: str, values: np.ndarray) -> PrivateUpdate:
    return replace(_update(site), request_id="run:a:1", values=values.astype(np.float32))


def test_a_site_of_smaller_rank_leaves_the_rest_to_others():
    """What it did not train has no part in the mean, and none of its noise."""
    asks = {"a": _of_rank(Part.everything(WIDE), 3.0), "b": _of_rank(NARROW, 1.0)}
    tally = Tally(asks, Rule(14))
    tally.take("a", _numbered("a", np.arange(14.0)))
    tally.take("b", _numbered("b", np.full(7, 0.4)))
    mean = tally.aggregator.result()
    assert tally.problems == {}
    np.testing.assert_allclose(mean, (3 * np.arange(14.0) + NARROW.lift(np.full(7, 0.4))) / 4)
    noise = tally.noise(WIDE)
    alone = (0.5 * 1.1) ** 2 * 2 / 4**2
    scales = np.repeat([1.0, 4.0], [6, 8])
    np.testing.assert_allclose(noise, scales * alone * (1 + NARROW.lift(np.ones(7))))


@pytest.mark.parametrize("length", [6, 8, 14])
def test_another_rank_than_asked_is_another_length(length):
    assert find_problem(_of_rank(NARROW, 1.0), _numbered("a", np.ones(length))) == "another length"
    assert find_problem(_of_rank(NARROW, 1.0), _numbered("a", np.ones(7))) is None


def test_the_allocation_hears_the_mean_noise_of_each_segment():
    """Not that of coordinates which all train: subtracted everywhere it would hide every signal."""
    asks = {"a": _of_rank(Part.everything(WIDE), 1.0), "b": _of_rank(NARROW, 1.0)}
    tally = Tally(asks, Rule(14))
    tally.take("a", _numbered("a", np.ones(14)))
    tally.take("b", _numbered("b", np.ones(7)))
    seen = tally.observation(tally.aggregator.result())
    assert seen.noise_shares.tolist() == [0.75, 0.75]  # half of each segment has half of the noise
    noise = tally.noise(WIDE)
    moved = 0.5 * 2
    for share, segment, scale in zip(seen.noise_shares, WIDE.segments, (1.0, 2.0), strict=True):
        assert noise[segment.slice].mean() == pytest.approx(share * scale**2 * seen.unit_noise * moved**2)
    alike = Tally({"a": _of_rank(Part.everything(WIDE), 1.0)}, Rule(14))
    alike.take("a", _numbered("a", np.ones(14)))
    assert alike.observation(alike.aggregator.result()).noise_shares is None
