# SPDX-License-Identifier: Apache-2.0
"""The mean is the sum of releases over the sum of expected batches."""

import numpy as np

from fedpeft.aggregation.mean import Rule


def test_weighted_by_expected_batches_it_is_the_sum_of_releases_over_the_sum_of_batches():
    random = np.random.default_rng(1)
    batches = [40.0, 10.0, 250.0]
    sums = [random.standard_normal(9) for _ in batches]  # clipped gradients + noise, before the division
    rule = Rule(9)
    for total, batch in zip(sums, batches, strict=True):
        rule.add((total / batch).astype(np.float32), batch)
    np.testing.assert_allclose(rule.result(), sum(sums) / sum(batches), rtol=1e-6)


def test_a_missing_site_leaves_both_sums():
    rule = Rule(2)
    rule.add(np.array([1, 2], np.float32), 1.0)
    rule.add(np.array([4, 8], np.float32), 2.0)
    np.testing.assert_array_equal(rule.result(), [3.0, 6.0])


def test_small_updates_are_not_lost_beside_large_ones():
    rule = Rule(1)
    rule.add(np.array([2.0**24], np.float32), 1.0)
    for _ in range(4):
        rule.add(np.array([1.0], np.float32), 1.0)  # a float32 sum would stay at 2^24
    assert rule.result()[0] * 5 == 2.0**24 + 4


def test_holds_one_vector_whatever_the_number_of_sites():
    rule = Rule(1000)
    arrays = [v for v in vars(rule).values() if isinstance(v, np.ndarray)]
    for _ in range(20):
        rule.add(np.ones(1000, np.float32), 1.0)
    assert sum(a.nbytes for a in vars(rule).values() if isinstance(a, np.ndarray)) == sum(
        a.nbytes for a in arrays
    )
