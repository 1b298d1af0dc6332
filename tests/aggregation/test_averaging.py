# SPDX-License-Identifier: Apache-2.0
"""The average of iterates: weights that sum to one, grow with the rounds, and cancel noise."""

import numpy as np

from fedpeft.aggregation.averaging import include


def _average(iterates) -> np.ndarray:
    average = np.full(iterates[0].shape, 1e9)  # whatever stood there before round 1
    for number, adapter in enumerate(iterates, start=1):
        average = include(average, adapter, number)
    return average


def _weights(rounds: int) -> np.ndarray:
    """The weight of each round, read off averages of unit vectors."""
    return _average(list(np.eye(rounds, dtype=np.float32)))


def test_weights_sum_to_one_and_grow():
    for rounds in (1, 2, 8, 60):
        weights = _weights(rounds)
        assert abs(weights.sum() - 1) < 1e-12
        assert (np.diff(weights) > 0).all()


def test_the_first_round_is_its_own_average():
    np.testing.assert_array_equal(_average([np.array([1.0, -2.0], np.float32)]), [1.0, -2.0])


def test_it_follows_the_iterates_closely_and_still_averages():
    weights = _weights(60)
    rounds = np.arange(1, 61)
    assert 0.88 < weights @ rounds / 60 < 0.95, "how far it lags behind a steady course"
    assert (weights**2).sum() < 0.15, "what is left of the variance of noise that is new in every round"


def test_neither_argument_is_changed():
    average, adapter = np.ones(3), np.full(3, 2.0, np.float32)
    include(average, adapter, 5)
    assert (average == 1).all()
    assert (adapter == 2).all()
