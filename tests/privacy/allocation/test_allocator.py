# SPDX-License-Identifier: Apache-2.0
"""From round to round: warm-up, freezing, and rules that misbehave."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedpeft.errors import MechanismError
from fedpeft.privacy.allocation.allocator import WARM_UP, Allocator
from fedpeft.privacy.allocation.base import Allocation, find
from fedpeft.privacy.allocation.history import Observation
from fedpeft.privacy.clipping import FROZEN_SCALE
from fedpeft.types import Layout, Segment

SIZES = (2000, 2000, 500)
LAYOUT = Layout(tuple(Segment(f"s{i}", i, "m", (n,), sum(SIZES[:i])) for i, n in enumerate(SIZES)))

WEIGHTS = np.repeat((0.1, 1.0, 3.0), SIZES).astype(np.float32)


def _seen(allocator: Allocator, statistics, seed: int, signal=(1.0, 0.001, 1.0)) -> Observation:
    """A round whose signal stands above noise of variance 0.01 b^2, or drowns in it."""
    random = np.random.default_rng(seed)
    scales = allocator.scales(statistics)
    live = np.repeat(np.array(scales) < FROZEN_SCALE, SIZES)
    noise = 0.1 * np.repeat(np.where(np.array(scales) < FROZEN_SCALE, scales, 0.0), SIZES)
    draws = random.standard_normal((2, sum(SIZES)))
    gradient = (np.repeat(signal, SIZES) * draws[0] + noise * draws[1]) * live
    return Observation(gradient, WEIGHTS, scales, 0.01)


def _after(allocator: Allocator, rounds: int, **options):
    statistics = {}
    for seed in range(rounds):
        statistics = allocator.observe(statistics, _seen(allocator, statistics, seed, **options))
    return statistics


@pytest.mark.parametrize("name", ["instability", "kl", "anadp"])
def test_noise_is_uniform_until_enough_was_seen_and_shaped_after(name):
    allocator = Allocator(find(name), LAYOUT, 0.7, lambda2=1.0)
    for rounds in range(WARM_UP):
        assert allocator.scales(_after(allocator, rounds)) == pytest.approx((0.7, 0.7, 0.7))
    scales = allocator.scales(_after(allocator, WARM_UP + 3))
    assert max(scales) / min(scales) > 1.2


def test_uniform_keeps_no_statistics():
    allocator = Allocator(find("uniform"), LAYOUT, 1.0)
    assert _after(allocator, 3) == {}


class TestFreezing:
    def test_a_drowned_segment_is_frozen_after_so_many_rounds_and_for_good(self):
        allocator = Allocator(find("uniform"), LAYOUT, 0.7, drop_after=3)
        for rounds in range(3):
            assert FROZEN_SCALE not in allocator.scales(_after(allocator, rounds))
        for rounds in (3, 4, 8):
            assert allocator.scales(_after(allocator, rounds)) == pytest.approx((0.7, FROZEN_SCALE, 0.7))

    def test_none_is_frozen_where_that_is_off_or_nothing_drowns(self):
        off = Allocator(find("instability"), LAYOUT, 0.7)
        assert FROZEN_SCALE not in off.scales(_after(off, 8))
        on = Allocator(find("instability"), LAYOUT, 0.7, drop_after=1)
        assert FROZEN_SCALE not in on.scales(_after(on, 8, signal=(1.0, 0.5, 1.0)))

    def test_never_more_than_half_the_worst_first(self):
        allocator = Allocator(find("uniform"), LAYOUT, 1.0, drop_after=1)
        scales = allocator.scales(_after(allocator, 6, signal=(0.015, 0.0, 0.017)))
        assert scales == pytest.approx((1.0, FROZEN_SCALE, 1.0))

    @pytest.mark.parametrize("name", ["uniform", "instability", "kl", "anadp"])
    def test_the_others_share_the_whole_budget(self, name):
        allocator = Allocator(find(name), LAYOUT, 1.0, lambda2=1.0, drop_after=2)
        scales = np.array(allocator.scales(_after(allocator, 7)))
        live = scales < FROZEN_SCALE
        assert live.tolist() == [True, False, True]
        # Expected squared length of a scaled gradient: as for one clip level over the live elements.
        assert 0.04 < (np.array(SIZES)[live] / scales[live] ** 2).sum() / np.array(SIZES)[live].sum() < 25


@dataclass
class Broken:
    """A rule that makes what no rule may."""

    shares: tuple[float, ...]
    levels: tuple[float, ...] = (0.5, 0.5, 0.5)
    learns = True

    def allocate(self, facts, history):
        return Allocation(self.shares, self.levels)


@pytest.mark.parametrize(
    "rule",
    [
        Broken((0.5, 0.5, 0.0)),
        Broken((0.7, 0.7, -0.4)),
        Broken((0.5, 0.5, math.nan)),
        Broken((0.5, 0.5), (1.0, 1.0)),
        Broken((0.25, 0.25, 0.25, 0.25), (1.0, 1.0, 1.0, 1.0)),
        Broken((0.2, 0.2, 0.6), (1.0, 1.0, 1e13)),
        Broken((0.2, 0.2, 0.6), (1.0, 1.0, 1e-13)),
        Broken((0.2, 0.2, 0.2)),
    ],
)
def test_a_rule_that_makes_no_allocation_is_refused(rule):
    healthy = Allocator(find("instability"), LAYOUT, 1.0)
    with pytest.raises(MechanismError, match="allocation"):
        Allocator(rule, LAYOUT, 1.0).scales(_after(healthy, WARM_UP))


class TestClipLevel:
    def _after(self, votes: list[float], **options) -> float:
        allocator, statistics = Allocator(find("uniform"), LAYOUT, 0.7, **options), {}
        for unclipped in votes:
            seen = replace(_seen(allocator, statistics, 0), unclipped=unclipped)
            statistics = allocator.observe(statistics, seen)
        (scale,) = set(np.round(allocator.scales(statistics), 12).tolist())
        return float(scale)

    def test_it_grows_where_most_are_clipped_and_shrinks_where_few_are(self):
        assert self._after([0.5, 0.5]) == pytest.approx(0.7)
        assert self._after([0.1]) == pytest.approx(0.7 * math.exp(0.2 * 0.4))
        assert self._after([0.9, 0.9]) == pytest.approx(0.7 * math.exp(-0.2 * 0.8))
        assert self._after([0.9], clip_quantile=0.9) == pytest.approx(0.7)

    def test_a_vote_that_is_mostly_noise_moves_it_no_further_than_a_true_one(self):
        assert self._after([1e9]) == pytest.approx(0.7 * math.exp(-0.1))
        assert self._after([-1e9]) == pytest.approx(0.7 * math.exp(0.1))

    def test_it_stays_within_what_a_site_accepts(self):
        assert self._after([0.0] * 400) == pytest.approx(1e9)
        assert self._after([1.0] * 400) == pytest.approx(1e-9, abs=1e-10)
