# SPDX-License-Identifier: Apache-2.0
"""Every generator: the size that was asked for, rows of the pool alone, and sites asked where it says so."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from fedpeft.config import option_names
from fedpeft.settings import DataSettings
from fedpeft.stage_settings import SynthesisSettings
from fedpeft.synthesis.base import Tally, Tools, find
from fedpeft.synthesis.binning import make_bins
from fedpeft.synthesis.pool import DROWNED
from fedpeft.synthesis.templates import bundled_pool

NAMES = option_names("synthesis.generator")
TEXTS = {(row.instruction, row.response, row.lineage) for row in bundled_pool()}


def make(name: str, **changes: object):
    settings = SynthesisSettings(**({"generator": name, "size": 200, "bins": 16} | changes))
    return find(name)(settings, DataSettings())


def test_they_are_found() -> None:
    assert set(NAMES) >= {"pool", "public"}


@pytest.mark.parametrize("name", [name for name in NAMES if not find(name).trains])
def test_each_makes_rows_of_public_data(name: str) -> None:
    asked = []

    def poll(bins: np.ndarray) -> Tally:
        asked.append(bins)
        return Tally(np.arange(len(bins)) * 50.0, 3.0)

    generator = make(name)
    made = generator.generate(Tools(poll))
    assert len(made.rows) == 200
    assert len({row.id for row in made.rows}) == 200
    assert {(row.instruction, row.response, row.lineage) for row in made.rows} <= TEXTS
    assert len(asked) == int(generator.asks_sites)
    assert made.note == ""


def test_the_pool_follows_the_votes() -> None:
    bins = make_bins(bundled_pool(), 16, 0)

    def poll(centres: np.ndarray) -> Tally:
        assert np.array_equal(centres, bins.centres)
        return Tally(np.where(np.arange(len(centres)) == 3, 500.0, 2.0), 3.0)

    wanted = {row.id for row, number in zip(bundled_pool(), bins.bin_of, strict=True) if number == 3}
    rows = make("pool").generate(Tools(poll)).rows
    assert {row.id.partition("#")[0] for row in rows} <= wanted


def test_votes_under_the_noise_fall_back_to_the_whole_pool(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made = make("pool").generate(Tools(lambda bins: Tally(np.ones(len(bins)), 30.0)))
    assert made.note == DROWNED
    assert "uniformly" in caplog.text
    assert made.rows == make("public").generate(Tools(lambda _: pytest.fail("asked"))).rows


def test_nobodys_votes_fall_back_too() -> None:
    assert make("pool").generate(Tools(lambda bins: Tally(np.zeros(len(bins)), 0.0))).note == DROWNED
