# SPDX-License-Identifier: Apache-2.0
"""Figures of several runs that differ by chance alone: means, spreads, paired differences with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedpeft.evaluation.scores import (
    SEED,
    STATISTICS,
    Figure,
    Floats,
    Scores,
    Statistic,
    finite,
    interval,
    resamples,
)


def summarize_runs(runs: Sequence[Scores]) -> dict[str, Figure]:
    """The figures of :func:`summarize`, as means over runs; ``spread`` is their standard deviation.

    Intervals cover the choice of records and that of the runs: both are resampled. A few runs tell little of
    how runs differ, so with fewer than about five the interval is on the narrow side.

    Args:
        runs: scores of the same records after runs that differ by chance alone; at least one.

    Raises:
        ValueError: no run, or not the same records.
    """
    return _over_runs([_same_records(runs)])


def compare_runs(reference: Sequence[Scores], runs: Sequence[Scores]) -> dict[str, Figure]:
    """Differences (``runs`` minus ``reference``) of the means over runs, paired over records.

    Where both have the same number of runs, these are paired too, in the order given: runs of one seed share
    what chance they can. ``spread`` is the standard deviation of the paired differences, else ``None``.

    Raises:
        ValueError: no run, or not the same records.
    """
    _same_records([*reference, *runs])
    return _over_runs([_same_records(reference), _same_records(runs)])


def _same_records(runs: Sequence[Scores]) -> Sequence[Scores]:
    if len({run.ids for run in runs}) != 1:
        raise ValueError("runs must be about the same records in the same order, and at least one")
    return runs


def _over_runs(groups: Sequence[Sequence[Scores]]) -> dict[str, Figure]:
    """The mean of one group, or the difference of the means of two, with interval and spread."""
    num_records = len(groups[0][0].ids)
    generator = np.random.default_rng(SEED + 1)  # of its own, so that records are drawn as for one run
    is_paired = len({len(group) for group in groups}) == 1
    drawn: dict[str, list[Floats]] = {name: [] for name in STATISTICS}
    with np.errstate(all="ignore"):
        for weights in resamples(num_records):
            shares = [_run_shares(generator, len(group), len(weights)) for group in groups]
            shares = [shares[0]] * len(groups) if is_paired else shares
            for name, statistic in STATISTICS.items():
                values = [_of_runs(group, statistic, weights) for group in groups]
                means = [(share * value).sum(0) for share, value in zip(shares, values, strict=True)]
                drawn[name].append(means[-1] - means[0] if len(means) > 1 else means[0])
        return {
            name: {
                **_value_and_spread(groups, statistic),
                **interval(drawn[name], num_records),
            }
            for name, statistic in STATISTICS.items()
        }


def _value_and_spread(groups: Sequence[Sequence[Scores]], statistic: Statistic) -> Figure:
    once = np.ones((1, len(groups[0][0].ids)))
    single = [_of_runs(group, statistic, once)[:, 0] for group in groups]
    value = single[-1].mean() - single[0].mean() if len(groups) > 1 else single[0].mean()
    is_paired = len({len(group) for group in groups}) == 1
    each = single[-1] - single[0] if is_paired and len(groups) > 1 else single[0]
    has_spread = each.size > 1 and (is_paired or len(groups) == 1)
    return {"value": finite(value), "spread": finite(each.std(ddof=1)) if has_spread else None}


def _of_runs(runs: Sequence[Scores], statistic: Statistic, weights: Floats) -> Floats:
    """``(num_runs, num_resamples)``."""
    return np.stack([statistic(run, weights) for run in runs])


def _run_shares(generator: np.random.Generator, num_runs: int, num_resamples: int) -> Floats:
    """``(num_runs, num_resamples)`` weights of the runs in each resample; a column sums to 1."""
    counts = generator.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=num_resamples)
    return counts.T / num_runs
