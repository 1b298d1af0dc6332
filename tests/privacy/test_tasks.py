# SPDX-License-Identifier: Apache-2.0
"""What a unit of each task costs, and which weights there can be."""

import math

import pytest

from fedpeft.privacy.accountant import epsilon_pld
from fedpeft.privacy.tasks import UnitWeights, _event, are_weights, epsilon_by_task
from fedpeft.types import PrivacyEvent

DELTA = 1e-6


def of_one_task(weight, parts=((1.5, 40),), rate=0.05, dimensions=1000):
    weights = (("a", weight), ("b", 1.0))
    return epsilon_by_task(weights, parts, rate, DELTA, dimensions)


def events(factor, parts, rate):
    return [PrivacyEvent("poisson-gaussian", m * factor, rate, n, "record") for m, n in parts]


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.25, 0.01])
@pytest.mark.parametrize(
    ("parts", "rate"), [(((1.5, 40),), 0.05), (((2.0, 3), (1.0, 4)), 0.3), (((4.0, 1),), 1.0)]
)
def test_a_task_costs_what_its_larger_multiplier_costs(weight, parts, rate):
    found = of_one_task(weight, parts, rate)
    assert found["a"] == pytest.approx(
        epsilon_pld(events(1 / math.sqrt(weight), parts, rate), DELTA), rel=1e-5
    )
    assert found["b"] == epsilon_pld(events(1, parts, rate), DELTA)


def test_a_weight_is_no_factor_on_the_norm():
    """The control: with sqrt(alpha) and alpha mixed up the figure is another one."""
    wrong = epsilon_pld(events(1 / 0.25, ((1.5, 40),), 0.05), DELTA)
    assert of_one_task(0.25)["a"] > 1.5 * wrong


def test_rounding_to_a_grid_is_part_of_the_figure():
    """However long the vector and small the weight: never above the claim, and less noise the longer."""

    def multiplier(weight, dimensions, sigma=1.5):
        return _event(weight, (sigma, 1), 0.1, dimensions).noise_multiplier

    assert multiplier(1e-4, 2**24) < multiplier(1e-4, 100) < 1.5 / 1e-2
    grid = math.floor((2**40 - 2**10) / 1.5)  # steps that a unit of weight 1 has
    most = 1e-2 * (1 - 2**12 / (2 * grid)) + 2**12 / (2 * grid)  # of one of weight 1e-4, after rounding
    assert multiplier(1e-4, 2**24) < 1.5 / most
    assert multiplier(1 - 1e-12, 2**24, 1e5) == 1e5


@pytest.mark.parametrize(
    ("weights", "good"),
    [
        ((), True), ((("a", 1.0),), True), ((("a", 0.1), ("b", 1.0)), True), ((("a", 1.0), ("b", 1.0)), True),
        ((("a", 0.9),), False), ((("a", 1.1), ("b", 1.0)), False), ((("a", 0.0), ("b", 1.0)), False),
        ((("a", -1.0), ("b", 1.0)), False), ((("a", math.nan), ("b", 1.0)), False),
        ((("a", math.inf),), False), ((("a", 1.0), ("a", 0.5)), False),
    ],
)  # fmt: skip
def test_which_weights_there_can_be(weights, good):
    assert are_weights(weights) is good


def test_units_are_grouped_by_the_root_of_their_weight():
    weights = UnitWeights((("a", 0.25), ("b", 1.0)), {"u": 0.25, "v": 1.0, "w": 0.25})
    assert weights.bounds(["u", "v", "w"]) == {1.0: ["v"], 0.5: ["u", "w"]}
    assert list(weights.bounds(["u", "v"])) == [1.0, 0.5]
    assert weights.bounds([]) == {}


def test_without_weights_all_units_are_one_group():
    assert UnitWeights().bounds(["v", "u"]) == {1.0: ["v", "u"]}


def test_a_unit_without_a_weight_never_counts_as_one_with():
    with pytest.raises(KeyError):
        UnitWeights((("a", 1.0),), {}).bounds(["u"])
