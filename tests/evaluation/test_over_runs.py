# SPDX-License-Identifier: Apache-2.0
"""Figures over several runs: by hand, by theory, and equal to those of one run where there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedpeft.evaluation import Scores, compare, compare_runs, summarize, summarize_runs


def _scores(is_first: np.ndarray) -> Scores:
    num = len(is_first)
    return Scores(
        ids=tuple(map(str, range(num))),
        num_tokens=np.full(num, 4),
        num_correct=np.full(num, 2),
        log_likelihood=np.linspace(-9, -2, num),
        is_ranked=np.ones(num, dtype=np.bool_),
        is_first=is_first.astype(np.bool_),
    )


def _random(share: float, seed: int, num: int = 200) -> Scores:
    return _scores(np.random.default_rng(seed).random(num) < share)


def test_one_run_has_the_figures_of_a_run() -> None:
    one, two = _random(0.5, 0), _random(0.7, 1)
    for several, single in (
        (summarize_runs([one]), summarize(one)),
        (compare_runs([one], [two]), compare(one, two)),
    ):
        for name, figure in single.items():
            assert several[name] == {**figure, "spread": None}


def test_mean_and_spread_by_hand() -> None:
    runs = [_scores(np.arange(10) < k) for k in (2, 4, 9)]
    figure = summarize_runs(runs)["ranking_accuracy"]
    assert figure["value"] == pytest.approx(0.5)
    assert figure["spread"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))


def test_differences_are_paired_over_runs_and_records() -> None:
    """What a seed does to both, and what a record does to both, cancels."""
    befores = [_random(share, seed) for seed, share in enumerate((0.2, 0.5, 0.8))]
    same = compare_runs(befores, befores)["ranking_accuracy"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0, "spread": 0.0}
    mixed = compare_runs(befores, befores[::-1])["ranking_accuracy"]
    assert mixed["value"] == pytest.approx(0.0)
    assert mixed["high"] - mixed["low"] > 0.2


def test_unequal_numbers_of_runs_are_not_paired() -> None:
    figure = compare_runs([_random(0.5, 0)], [_random(0.6, i) for i in range(3)])["ranking_accuracy"]
    assert figure["spread"] is None
    assert figure["low"] < figure["value"] < figure["high"]


def test_the_interval_of_a_mean_covers_records_and_runs() -> None:
    """Runs that agree leave the records' part; runs that differ add their own."""
    agree = summarize_runs([_random(0.5, 0)] * 3)["ranking_accuracy"]
    alone = summarize_runs([_random(0.5, 0)])["ranking_accuracy"]
    assert (agree["low"], agree["high"]) == pytest.approx((alone["low"], alone["high"]))
    shares = np.linspace(0.2, 0.8, 40)
    differ = summarize_runs([_random(share, i) for i, share in enumerate(shares)])["ranking_accuracy"]
    half = 1.96 * shares.std(ddof=1) / math.sqrt(40)
    assert differ["high"] - differ["low"] == pytest.approx(2 * half, rel=0.15)


def test_other_records_are_refused() -> None:
    with pytest.raises(ValueError, match="same records"):
        compare_runs([_random(0.5, 0)], [_random(0.5, 0, num=10)])
    with pytest.raises(ValueError, match="at least one"):
        summarize_runs([])
