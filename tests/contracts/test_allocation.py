# SPDX-License-Identifier: Apache-2.0
"""What every allocation rule in its folder promises, and what no allocation may be."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest
import torch

from fedpeft.config import option_names
from fedpeft.errors import MechanismError
from fedpeft.privacy.allocation.base import Allocation, AllocationRule, Facts, find
from fedpeft.privacy.allocation.history import LARGEST, History, read
from fedpeft.privacy.clipping import SENSITIVITY, clip_factors

SIZES = np.array([6.0, 6.0, 1.0])
NUMBERS = (0.0, 5e-324, 1e-30, 1.0, 1e30, LARGEST)
RULES = option_names("privacy.allocation")


def histories() -> Iterator[History]:
    """None, every number everywhere, each in one segment alone, and random mixtures of sizes."""
    yield read({}, 3)
    random = np.random.default_rng(0)
    for number in NUMBERS:
        everywhere = np.full(3, number)
        yield History(5, everywhere, everywhere, everywhere, everywhere, everywhere, number)
        alone = np.array([number, 0.0, 0.0])
        yield History(5, alone, alone, alone, alone, alone, 1.0)
    for _ in range(12):
        values = 10.0 ** random.uniform(-40, 40, (5, 3)) * (random.random((5, 3)) < 0.8)
        yield History(5, *values, float(random.choice(NUMBERS)))


@functools.cache
def allocations(name: str) -> list[tuple[Facts, Allocation]]:
    made = []
    for clip_norm in (1e-9, 0.3, 1e9):
        for lambda2 in (0.0, 1.0, 1e12):
            facts = Facts(SIZES, clip_norm, lambda2)
            for history in histories():
                made.append((facts, find(name).allocate(facts, history)))
    return made


@pytest.mark.parametrize("name", RULES)
class TestRule:
    def test_is_final_documented_and_sees_only_what_is_public_or_released(self, name: str) -> None:
        rule = type(find(name))
        assert rule.__mro__[1] is AllocationRule
        assert getattr(rule, "__final__", False)
        assert inspect.getdoc(inspect.getmodule(rule))
        annotations = inspect.get_annotations(rule.allocate)
        assert annotations == {"facts": "Facts", "history": "History", "return": "Allocation"}
        assert not vars(find(name)), "a rule with state of its own would not resume"

    def test_shares_are_a_budget_whatever_happened(self, name: str) -> None:
        for facts, allocation in allocations(name):
            assert len(allocation.shares) == len(allocation.clip_levels) == 3
            assert all(0 < share < 1 and math.isfinite(share) for share in allocation.shares)
            assert abs(math.fsum(allocation.shares) - 1) < 1e-9
            levels = math.fsum(level**2 for level in allocation.clip_levels)
            assert levels == pytest.approx(facts.clip_norm**2)

    def test_scales_are_within_bounds_of_the_clip_norm(self, name: str) -> None:
        for facts, allocation in allocations(name):
            assert all(0.01 < scale / facts.clip_norm < 100 for scale in allocation.scales)

    def test_a_unit_stays_within_the_sensitivity(self, name: str) -> None:
        gradients = [torch.full((1, size), 1e6, dtype=torch.float64) for size in (6, 6, 1)]
        for _, allocation in allocations(name):
            factors = clip_factors(gradients, allocation.scales, "flat")
            scaled = [(g / b).square().sum() for g, b in zip(gradients, allocation.scales, strict=True)]
            assert float(factors[0]) * math.sqrt(sum(scaled)) <= SENSITIVITY

    def test_is_deterministic_and_changes_nothing(self, name: str) -> None:
        for history in histories():
            before = [np.copy(getattr(history, field.name)) for field in fields(History)]
            first, second = (find(name).allocate(Facts(SIZES, 1.0, 1.0), history) for _ in range(2))
            assert first == second
            after = [getattr(history, field.name) for field in fields(History)]
            assert all(np.array_equal(b, a) for b, a in zip(before, after, strict=True))

    def test_nothing_known_is_uniform(self, name: str) -> None:
        scales = find(name).allocate(Facts(SIZES, 0.7, 1.0), read({}, 3)).scales
        assert scales == pytest.approx((0.7, 0.7, 0.7))

    def test_is_no_worse_than_its_segments_alike(self, name: str) -> None:
        """What is the same in every coordinate gives no reason to treat segments differently."""
        alike = History(5, *np.full((5, 3), 0.25), 0.01)
        assert find(name).allocate(Facts(SIZES, 0.7, 1.0), alike).scales == pytest.approx((0.7, 0.7, 0.7))


def test_the_shipped_rules_are_found() -> None:
    assert set(RULES) == {"uniform", "instability", "kl", "anadp"}


@pytest.mark.parametrize(
    ("shares", "levels"),
    [
        ((0.5, 0.6), (1.0, 1.0)),
        ((1.0, 0.0), (1.0, 1.0)),
        ((1.5, -0.5), (1.0, 1.0)),
        ((float("nan"), 1.0), (1.0, 1.0)),
        ((0.5, 0.5), (1.0, 0.0)),
        ((0.5, 0.5), (1.0, float("inf"))),
        ((0.5, 0.5), (1.0,)),
    ],
)
def test_what_is_no_allocation_is_refused(shares: tuple[float, ...], levels: tuple[float, ...]) -> None:
    with pytest.raises(MechanismError, match="allocation"):
        Allocation(shares, levels)
