# SPDX-License-Identifier: Apache-2.0
"""Public statistics shape the first round, give way to releases, and are refused where not public."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedpeft.errors import ConfigError
from fedpeft.privacy.allocation.allocator import WARM_UP, Allocator
from fedpeft.privacy.allocation.base import find
from fedpeft.privacy.allocation.history import Observation, read
from fedpeft.privacy.allocation.public import PublicStatistics, start_from
from fedpeft.types import Layout, Segment

SIZES = (2000, 2000, 500)
LAYOUT = Layout(tuple(Segment(f"s{i}", i, "m", (n,), sum(SIZES[:i])) for i, n in enumerate(SIZES)))
PUBLIC = PublicStatistics(
    "dummy text", np.array([1.0, 4.0, 9.0]), np.array([1.0, 1.0, 4.0]), np.array([0.1, 0.2, 0.3])
)


def after(allocator, rounds):
    """Rounds whose segments are all alike, for what they released."""
    statistics = {}
    for seed in range(rounds):
        draws = np.random.default_rng(seed).standard_normal(sum(SIZES))
        seen = Observation(draws, np.ones(sum(SIZES), np.float32), allocator.scales(statistics), 1e-6)
        statistics = allocator.observe(statistics, seen)
    return statistics


@pytest.mark.parametrize("name", ["instability", "kl", "anadp"])
class TestRules:
    def test_the_first_round_is_shaped_by_what_is_public(self, name):
        plain = Allocator(find(name), LAYOUT, 0.7, lambda2=1.0)
        assert plain.scales({}) == pytest.approx((0.7, 0.7, 0.7))
        scales = replace(plain, public=PUBLIC).scales({})
        assert max(scales) / min(scales) > 1.2

    def test_only_proportions_count(self, name):
        allocator = Allocator(find(name), LAYOUT, 0.7, lambda2=1.0)
        louder = PublicStatistics(
            "louder", *(1e6 * getattr(PUBLIC, n) for n in ("variance", "importance", "uncertainty"))
        )
        for statistics in ({}, after(allocator, WARM_UP + 1)):
            both = [replace(allocator, public=p).scales(statistics) for p in (PUBLIC, louder)]
            assert both[0] == pytest.approx(both[1], rel=1e-9)

    def test_what_was_released_takes_over(self, name):
        allocator = Allocator(find(name), LAYOUT, 0.7, lambda2=1.0)
        begun = replace(allocator, public=PUBLIC)
        distances = []
        for rounds in (3, 10, 60):
            statistics = after(allocator, rounds)
            ratio = np.array(begun.scales(statistics)) / np.array(allocator.scales(statistics))
            distances.append(np.abs(np.log(ratio)).max())
        assert distances[0] > distances[1] > distances[2]
        assert distances[2] < 0.01

    def test_frozen_segments_are_left_out_of_it(self, name):
        allocator = replace(Allocator(find(name), LAYOUT, 0.7), public=PUBLIC)
        scales = allocator.scales({"frozen": np.array([0.0, 1.0, 0.0])})
        assert len(scales) == 3
        assert np.isfinite(scales).all()


def test_nothing_public_or_nothing_learnt_leaves_the_other():
    nothing = PublicStatistics("nothing", np.zeros(3), np.zeros(3), np.zeros(3))
    history = read(after(Allocator(find("kl"), LAYOUT, 1.0), 3), 3)
    assert (start_from(history, nothing, [True] * 3).variance == history.variance).all()
    assert (start_from(read({}, 3), PUBLIC, [True] * 3).variance == PUBLIC.variance).all()


def test_gradients_of_public_units_become_statistics():
    random = np.random.default_rng(0)
    wide = np.repeat((1.0, 2.0, 3.0), SIZES)
    gradients = 0.5 + wide * random.standard_normal((200, sum(SIZES)))
    found = PublicStatistics.of_gradients(LAYOUT, gradients, "draws")
    np.testing.assert_allclose(found.variance, [1, 4, 9], rtol=0.05)
    np.testing.assert_allclose(found.importance, [0.25 + 1 / 200, 0.25 + 4 / 200, 0.25 + 9 / 200], rtol=0.1)
    assert (np.diff(found.uncertainty) > 0).all()


def test_a_file_comes_back_as_it_was(tmp_path):
    PUBLIC.save(tmp_path / "start.json", LAYOUT)
    again = PublicStatistics.load(tmp_path / "start.json", LAYOUT)
    assert again.source == "dummy text"
    for name in ("variance", "importance", "uncertainty"):
        np.testing.assert_array_equal(getattr(again, name), getattr(PUBLIC, name))


def segments(**values):
    return {
        "segments": {f"s{i}": {"variance": 1, "importance": 1, "uncertainty": 1} | values for i in range(3)}
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"public": False}, "public"),
        ({"public": "yes"}, "public"),
        ({"format": "other"}, "format"),
        ({"source": " "}, "source"),
        ({"segments": {}}, "other segments"),
        ({"segments": None}, "file of public"),
        (segments(variance=-1), "variance"),
        (segments(importance=1e200), "importance"),
        (segments(variance="x"), "'x'"),
        (segments(uncertainty=None), "file of public"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, change, word):
    path = tmp_path / "start.json"
    PUBLIC.save(path, LAYOUT)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=word) as caught:
        PublicStatistics.load(path, LAYOUT)
    assert str(caught.value).startswith("privacy.allocation_start = ")


def test_a_file_that_is_absent_or_no_json_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        PublicStatistics.load(tmp_path / "no.json", LAYOUT)
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(ConfigError, match="is not a file of public"):
        PublicStatistics.load(tmp_path / "bad.json", LAYOUT)


@pytest.mark.parametrize("values", [[1.0, np.nan, 1.0], [1.0, -1.0, 1.0], [1.0, np.inf, 1.0], [1.0, 1.0]])
def test_what_is_no_statistic_is_refused(values):
    with pytest.raises(ConfigError, match="importance"):
        PublicStatistics("x", np.ones(3), np.array(values), np.ones(3))
