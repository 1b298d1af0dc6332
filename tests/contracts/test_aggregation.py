# SPDX-License-Identifier: Apache-2.0
"""What every aggregation rule must do, whatever its idea. New rules are found by their module."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from fedpeft.aggregation.base import Aggregator, available, find

SIZE = 17
RULES = available()


def _updates(num_sites: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(SIZE).astype(np.float32) for _ in range(num_sites)]


def _aggregate(name: str, updates: list[np.ndarray], weights: list[float]) -> np.ndarray:
    rule = find(name)(SIZE)
    for update, weight in zip(updates, weights, strict=True):
        rule.add(update, weight)
    return rule.result()


def test_the_shipped_rule_is_found():
    assert "mean" in RULES


@pytest.mark.parametrize("name", RULES)
class TestRule:
    def test_is_final_and_documented(self, name):
        rule = find(name)
        assert issubclass(rule, Aggregator)
        assert rule.__mro__[1] is Aggregator
        assert getattr(rule, "__final__", False)
        assert inspect.getdoc(inspect.getmodule(rule))

    def test_one_site_is_its_own_aggregate(self, name):
        (update,) = _updates(1)
        np.testing.assert_allclose(_aggregate(name, [update], [3.0]), update, rtol=1e-12)

    def test_identical_updates_are_their_own_aggregate(self, name):
        (update,) = _updates(1)
        np.testing.assert_allclose(
            _aggregate(name, [update] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]), update, rtol=1e-12
        )

    def test_result_is_finite_float64_of_the_size(self, name):
        result = _aggregate(name, _updates(4), [1.0] * 4)
        assert result.shape == (SIZE,)
        assert result.dtype == np.float64
        assert np.isfinite(result).all()

    def test_scale_of_the_weights_does_not_matter(self, name):
        updates = _updates(4)
        first = _aggregate(name, updates, [1.0, 2.0, 3.0, 4.0])
        np.testing.assert_allclose(first, _aggregate(name, updates, [10.0, 20.0, 30.0, 40.0]), rtol=1e-12)

    def test_order_of_sites_does_not_matter_beyond_rounding(self, name):
        updates, weights = _updates(6), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        backwards = _aggregate(name, updates[::-1], weights[::-1])
        np.testing.assert_allclose(_aggregate(name, updates, weights), backwards, rtol=1e-9, atol=1e-12)

    def test_same_input_gives_the_same_bits(self, name):
        updates, weights = _updates(6), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        assert _aggregate(name, updates, weights).tobytes() == _aggregate(name, updates, weights).tobytes()

    def test_same_bits_in_another_process(self, name):
        code = (
            "import sys, json, numpy as np; from fedpeft.aggregation.base import find; "
            f"r = np.random.default_rng(0); rule = find({name!r})({SIZE}); "
            f"[rule.add(r.standard_normal({SIZE}).astype(np.float32), 0.1 * (i + 1)) for i in range(4)]; "
            "print(json.dumps(rule.result().tobytes().hex()))"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        here = _aggregate(name, _updates(4), [0.1 * (i + 1) for i in range(4)])
        assert json.loads(out) == here.tobytes().hex()

    def test_updates_are_not_changed_nor_held(self, name):
        updates = _updates(3)
        copies = [u.copy() for u in updates]
        rule = find(name)(SIZE)
        for update in updates:
            rule.add(update, 1.0)
        assert all(np.array_equal(u, c) for u, c in zip(updates, copies, strict=True))
        expected = _aggregate(name, copies, [1.0] * 3)
        for update in updates:
            update[:] = 1e9  # a caller may reuse its buffer
        np.testing.assert_array_equal(rule.result(), expected)

    @pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
    def test_weight_out_of_range_is_refused(self, name, weight):
        with pytest.raises(ValueError, match="weight"):
            find(name)(SIZE).add(_updates(1)[0], weight)

    @pytest.mark.parametrize("shape", [(SIZE - 1,), (SIZE + 1,), (SIZE, 1), ()])
    def test_other_shape_is_refused(self, name, shape):
        with pytest.raises(ValueError, match="shape"):
            find(name)(SIZE).add(np.zeros(shape, np.float32), 1.0)

    def test_nothing_added_is_an_error(self, name):
        with pytest.raises(ValueError, match="no update"):
            find(name)(SIZE).result()

    def test_size_matters(self, name):
        assert not np.array_equal(
            _aggregate(name, _updates(3), [1.0] * 3), _aggregate(name, _updates(3, 1), [1.0] * 3)
        )
