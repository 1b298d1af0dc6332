# SPDX-License-Identifier: Apache-2.0
"""The blocks with the most noised votes; all of them where noise alone may have made the difference."""

from __future__ import annotations

import numpy as np
import pytest

from fedpeft.errors import ConfigError
from fedpeft.selection.base import Inputs, Selection, find
from fedpeft.selection.budget import asks_sites, signal_over_noise, votes_of, warnings_of
from fedpeft.selection.vote import differ
from fedpeft.stage_settings import SelectionSettings
from fedpeft.synthesis.base import Tally


def choose(counts: list[float], noise: float, size: int | str = "auto") -> Selection:
    asked = []

    def poll(k: int) -> Tally:
        asked.append(k)
        return Tally(np.array(counts), noise)

    settings = SelectionSettings(selector="vote", size=size)
    found = find("vote").choose(Inputs(tuple(range(len(counts))), settings, poll=poll))
    assert asked == [max(1, len(counts) // 4) if size == "auto" else size]
    return found


def test_the_most_votes_win_and_equal_ones_go_to_the_cheaper_block() -> None:
    assert choose([0.0, 50.0, 1.0, 90.0], 1.0, 2).layers == (1, 3)
    assert choose([50.0, 0.0, 50.0, 90.0], 1.0, 2).layers == (2, 3)
    assert choose([-9.0, -80.0, -90.0, -1.0], 1.0).layers == (3,)


def test_votes_are_of_the_blocks_there_are_to_choose_from() -> None:
    inputs = Inputs(
        (2, 5, 7),
        SelectionSettings(selector="vote", size=1),
        poll=lambda _: Tally(np.array([1.0, 90, 2]), 1.0),
    )
    assert find("vote").choose(inputs).layers == (5,)


@pytest.mark.parametrize(
    ("counts", "noise"), [([1.0, 2.0, 0.5, 1.5], 2.0), ([0.0] * 4, 0.0), ([40.0] * 4, 1.0), ([5.0], 0.1)]
)
def test_what_noise_alone_may_make_leaves_all_blocks(counts: list[float], noise: float) -> None:
    found = choose(counts, noise, 1)
    assert found.layers == tuple(range(len(counts)))
    assert "noise alone" in found.why


def test_noise_alone_seldom_passes_for_a_difference() -> None:
    random = np.random.default_rng(0)
    noisy = [Tally(100.0 + 3.0 * random.standard_normal(30), 3.0) for _ in range(2000)]
    assert 0.03 < np.mean([differ(tally) for tally in noisy]) < 0.07
    understated = [Tally(tally.counts, 2.0) for tally in noisy]
    assert np.mean([differ(tally) for tally in understated]) > 0.5  # the test can fail


def test_it_costs_its_share_and_others_nothing() -> None:
    settings = SelectionSettings(selector="vote", epsilon_share=0.2)
    ((stage, multiplier, releases),) = votes_of(settings, 8.0, 1e-5)
    assert (stage, releases) == ("selection", 1)
    assert multiplier == pytest.approx(votes_of(settings, 8.0, 1e-5)[0][1])
    assert multiplier > votes_of(settings, 16.0, 1e-5)[0][1]
    for name in (None, "all", "selft", "rotating"):
        assert votes_of(SelectionSettings(selector=name), 8.0, 1e-5) == ()
        assert not asks_sites(SelectionSettings(selector=name))


def test_votes_that_would_drown_are_told_beforehand() -> None:
    settings = SelectionSettings(selector="vote", size=4, vote_share=0.5)
    ratio = signal_over_noise(settings, (3.0, 4.0), 1000, 16)
    assert ratio == pytest.approx(0.5 * 1000 * 4 / 16 / 2 / 5)
    assert warnings_of(ratio) == ()
    (warning,) = warnings_of(signal_over_noise(settings, (3.0, 4.0), 100, 16))
    assert "selection.vote_share" in warning


def test_there_must_be_sites_to_ask() -> None:
    with pytest.raises(ConfigError, match="asks the sites"):
        find("vote").choose(Inputs(tuple(range(4)), SelectionSettings(selector="vote")))
