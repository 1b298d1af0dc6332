# SPDX-License-Identifier: Apache-2.0
"""From right and wrong guesses of one run to a lower bound of epsilon.

m canaries are in or out by independent fair coins, the mechanism runs once, and whoever sees its releases
guesses the coins of r of them and abstains on the others. If the mechanism is (epsilon, delta)-private, the
number of right guesses W satisfies (Steinke, Nasr, Jagielski, "Privacy Auditing with One (1) Training Run",
2023, arXiv:2305.08846, theorem 5.2)::

    P(W >= v)  <=  beta + 2 m delta alpha
    beta  = P(B >= v),   B ~ Binomial(r, 1 / (1 + exp(-epsilon)))
    alpha = max over i = 1..v of P(v > B >= v - i) / i

r is fixed before the run, so that one hypothesis is tested and no correction is due.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit
from scipy.stats import binom

MAX_EPSILON = 100.0
"""Bounds beyond are not told apart."""


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Largest probability of at least ``correct`` right guesses under any (epsilon, delta)-private mechanism.

    Args:
        canaries: m, those with an abstained guess included.
        guesses: r, at most m.
        correct: v, at most r.
        epsilon: not negative.
        delta: in [0, 1].

    Raises:
        ValueError: counts that do not nest.
    """
    if not 0 <= correct <= guesses <= canaries:
        raise ValueError(f"need 0 <= correct <= guesses <= canaries; got {correct}, {guesses}, {canaries}")
    accuracy = float(expit(epsilon))
    beta = float(binom.sf(correct - 1, guesses, accuracy))
    if delta == 0 or correct == 0:
        return min(beta, 1.0)
    i = np.arange(1, correct + 1)
    between = np.cumsum(binom.pmf(correct - i, guesses, accuracy))
    return min(beta + 2 * canaries * delta * float(np.max(between / i)), 1.0)


def epsilon_lower_bound(
    canaries: int, guesses: int, correct: int, delta: float, significance: float
) -> float:
    """The largest epsilon that the guesses refute; 0 where they refute none.

    A mechanism that is (epsilon, delta)-private shows a bound above epsilon with probability at most
    ``significance``.

    Args:
        canaries: m.
        guesses: r, fixed beforehand.
        correct: v.
        delta: of the claim.
        significance: in (0, 1); 0.001 is a confidence of 99.9 %.
    """

    def refuted(epsilon: float) -> bool:
        return p_value(canaries, guesses, correct, epsilon, delta) <= significance

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
        if high > MAX_EPSILON:
            return low
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def fewest_correct(canaries: int, guesses: int, epsilon: float, delta: float, significance: float) -> int:
    """The smallest number of right guesses that refutes the claim; ``guesses + 1`` where none does."""
    low, high = 0, guesses + 1
    while low < high:
        middle = (low + high) // 2
        if p_value(canaries, guesses, middle, epsilon, delta) <= significance:
            high = middle
        else:
            low = middle + 1
    return high


def area_under_curve(scores: np.ndarray, included: np.ndarray) -> float:
    """Area under the ROC curve of membership inference: P(a member scores higher), ties as a half.

    Args:
        scores: ``(m,)``.
        included: ``(m,)`` bool.
    """
    from scipy.stats import rankdata

    num_in = int(included.sum())
    num_out = included.size - num_in
    if not num_in or not num_out:
        return math.nan
    ranks = rankdata(scores)
    return float((ranks[included].sum() - num_in * (num_in + 1) / 2) / (num_in * num_out))
