# SPDX-License-Identifier: Apache-2.0
"""Statistics of releases hit the truth behind known noise, whatever the noise was from round to round."""

from dataclasses import replace

import numpy as np
import pytest

from fedpeft.privacy.allocation.history import Observation, learn, read
from fedpeft.privacy.clipping import FROZEN_SCALE
from fedpeft.types import Layout, Segment

SIZES = (3000, 12000, 6000)
LAYOUT = Layout(
    tuple(Segment(f"s{i}", i, "m", (n,), sum(SIZES[:i])) for i, n in enumerate(SIZES)),
)
SPREAD = np.array([0.1, 0.4, 0.0])  # of the mean gradient from round to round, in a coordinate
LEVEL = np.array([0.3, 0.0, 0.2])  # of its constant part
WEIGHT = np.array([0.5, 2.0, 1.0])  # of every weight


def _rounds(num_rounds: int, seed: int):
    """Releases with the spread above under noise that changes in every round."""
    random = np.random.default_rng(seed)
    each = np.repeat
    for i in range(num_rounds):
        scales = tuple(10.0 ** random.uniform(-0.5, 0.5, 3))
        unit_noise = 0.2 * (1 + i % 3)
        noise = each(scales, SIZES) * np.sqrt(unit_noise) * random.standard_normal(sum(SIZES))
        gradient = each(LEVEL, SIZES) + each(SPREAD, SIZES) * random.standard_normal(sum(SIZES)) + noise
        yield Observation(gradient, each(WEIGHT, SIZES).astype(np.float32), scales, unit_noise)


def _history(num_rounds: int, seed: int):
    statistics = {}
    for seen in _rounds(num_rounds, seed):
        statistics = learn(statistics, LAYOUT, seen)
    return statistics, read(statistics, 3)


class TestEstimates:
    def test_variance_signal_and_importance_are_the_truth_without_the_noise(self):
        found = [_history(8, seed)[1] for seed in range(40)]
        for name, truth in (
            ("variance", SPREAD**2),
            ("signal", LEVEL**2 + SPREAD**2),
            ("importance", WEIGHT**2 * (LEVEL**2 + SPREAD**2)),
        ):
            values = np.array([getattr(history, name) for history in found])
            error = values.std(axis=0) / np.sqrt(len(found)) + 1e-12
            # Where the truth is zero, cutting off at zero leaves about 0.4 of an estimate's own spread.
            assert (np.abs(values.mean(axis=0) - truth) < 4 * error + values.std(axis=0) * (truth == 0)).all()

    def test_less_noise_in_some_coordinates_is_subtracted_as_its_mean(self):
        """Where some sites train less, and the control: the noise of all subtracted hides the signal."""
        shares = np.array([0.5, 0.3, 1.0])
        found, blind = [], []
        for seed in range(40):
            for heard, kept in ((shares, found), (None, blind)):
                statistics, random = {}, np.random.default_rng(seed)
                for seen in _rounds(8, seed):
                    stddev = np.sqrt(np.array(seen.scales) ** 2 * seen.unit_noise * shares)
                    draws = random.standard_normal((2, sum(SIZES)))
                    of_signal, of_noise = np.repeat([SPREAD, stddev], SIZES, axis=1) * draws
                    gradient = np.repeat(LEVEL, SIZES) + of_signal + of_noise
                    statistics = learn(
                        statistics, LAYOUT, replace(seen, gradient=gradient, noise_shares=heard)
                    )
                kept.append(read(statistics, 3).signal)
        truth = LEVEL**2 + SPREAD**2
        error = np.std(found, axis=0) / np.sqrt(40) + 1e-12
        assert (np.abs(np.mean(found, axis=0) - truth) < 4 * error).all()
        assert (np.abs(np.mean(blind, axis=0) - truth)[:2] > 10 * error[:2]).all()

    def test_noise_left_in_would_be_seen(self):
        """The control: with the noise stated too small by a tenth the same estimates miss."""
        statistics = {}
        for seen in _rounds(8, 0):
            statistics = learn(statistics, LAYOUT, replace(seen, unit_noise=0.9 * seen.unit_noise))
        wrong = read(statistics, 3).variance
        found = np.array([_history(8, seed)[1].variance for seed in range(20)])
        assert (np.abs(wrong - SPREAD**2) > 5 * found.std(axis=0)).all()

    def test_uncertainty_is_that_of_the_true_level(self):
        random = np.random.default_rng(1)
        swings = []
        for _ in range(60):
            statistics, levels = {}, []
            for _ in range(30):
                gradient = np.repeat(np.abs(random.normal(1.0, 0.3, 3)), SIZES)
                levels.append(gradient[[0, 3000, 15000]] ** 2)
                noised = gradient + 0.5 * random.standard_normal(sum(SIZES))
                seen = Observation(noised, np.ones(sum(SIZES), np.float32), (0.5, 0.5, 0.5), 1.0)
                statistics = learn(statistics, LAYOUT, seen)
            swings.append(read(statistics, 3).uncertainty ** 2 / np.var(levels, axis=0, ddof=1))
        assert np.mean(swings, axis=0) == pytest.approx(np.ones(3), abs=0.15)

    def test_nothing_is_negative(self):
        for seed in range(20):
            history = _history(3, seed)[1]
            arrays = (history.variance, history.signal, history.importance, history.uncertainty)
            assert all((array >= 0).all() and np.isfinite(array).all() for array in arrays)


class TestState:
    def test_learning_is_pure(self):
        first, second = list(_rounds(2, 0))
        statistics = learn({}, LAYOUT, first)
        copies = {name: array.copy() for name, array in statistics.items()}
        learn(statistics, LAYOUT, second)
        assert all(np.array_equal(statistics[name], copies[name]) for name in copies)

    @pytest.mark.parametrize("gradient", [1e300, -1e300, 1e160])
    def test_a_round_that_overflows_teaches_nothing(self, gradient):
        before = _history(3, 0)[0]
        seen = Observation(
            np.full(sum(SIZES), gradient), np.full(sum(SIZES), 3e38, np.float32), (1.0, 1.0, 1.0), 1.0
        )
        after = learn(before, LAYOUT, seen)
        assert all(np.array_equal(before[name], after[name]) for name in before)

    def test_a_frozen_segment_keeps_what_is_known_of_it(self):
        statistics, before = _history(4, 0)
        seen = next(iter(_rounds(1, 9)))
        gradient = seen.gradient.copy()
        gradient[LAYOUT.segments[1].slice] = 0.0
        frozen = replace(seen, gradient=gradient, scales=(1.0, FROZEN_SCALE, 1.0))
        after = learn(statistics, LAYOUT, frozen)
        for name in ("variance", "signal", "importance"):
            assert after[name][1] == statistics[name][1]
            assert after[name][0] != statistics[name][0]
        assert read(after, 3).noise[1] == 0.0
        assert before.rounds + 1 == read(after, 3).rounds
